"""Replies under the addresses of earlier releases: there, a server's host and port were part of its model's identity."""

from collections.abc import Mapping

from resources.language_models.interface import UNVERSIONED, ModelIdentity, Reply, Request, earlier_identities, request_key
from resources.language_models.reply_store import ReplyStore


def stored_replies(store: ReplyStore, identity: ModelIdentity, requests: Mapping[str, Request]) -> dict[str, Reply]:
    """The kept replies of a model to requests, by the requests' keys. Replies under an earlier address of the model are kept again under
    the present address. So the questions of a server that has moved, or whose replies an earlier release kept, are not asked again."""
    found = store.get_many(requests)
    missing = [key for key in requests if key not in found]
    if not missing or not identity.revision.startswith(UNVERSIONED):
        return found
    for earlier in earlier_identities(identity, store.identities()):
        keys = {request_key(earlier, requests[key]): key for key in missing if key not in found}
        for address, reply in store.get_many(keys).items():
            found[keys[address]] = reply
            store.append(keys[address], identity, reply)
    store.flush()
    return found
