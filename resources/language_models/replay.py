"""The `replay` back end: only recorded replies, so that a run can be repeated where its model is not available."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from resources.language_models.earlier_replies import stored_replies
from resources.language_models.interface import Capability, ModelIdentity, Reply, Request, request_key
from resources.language_models.reply_store import ReplyStore


class MissingRecording(LookupError):
    """A request that the recording does not hold."""


class ReplayModel:
    """Answers from a recording of a model. Raises `MissingRecording` naming the first request without a recorded reply."""

    def __init__(self, model: str, revision: str | None, recorded_backend: str, folder: str | Path) -> None:
        """The recording of `model` at `revision`, asked through `recorded_backend`, in the reply store at `folder`."""
        self._store = ReplyStore(Path(folder))
        self._identity = ModelIdentity(recorded_backend, model, revision or "")

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the recorded model, so that requests have the addresses under which they were recorded."""
        return self._identity

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All abilities: the recording decides."""
        return frozenset({"answer_probabilities", "structured_reply", "json_reply", "prompt_logprobs"})

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Recorded replies, in order."""
        keys = [request_key(self._identity, request) for request in requests]
        found = stored_replies(self._store, self._identity, dict(zip(keys, requests, strict=True)))
        for index, (key, request) in enumerate(zip(keys, requests, strict=True)):
            if key not in found:
                raise MissingRecording(
                    f"no recorded reply of {self._identity.model} ({self._identity.revision}) in {self._store.folder} to request "
                    f"{key[:12]}, which ends: …{request.messages[-1].content[-120:]!r}. Record it by running once with the model itself."
                )
            yield index, found[key]

    def close(self) -> None:
        """Nothing to free."""
