"""Dictionaries of features by kind; `load_dictionary` is the one way to make one."""

from resources.dictionaries.interface import (
    Dictionary,
    DictionaryError,
    Encoded,
    SelfCheck,
    refuse_bad_dictionary,
    refuse_wrong_width,
    self_check,
)
from resources.dictionaries.neurons import load_neurons
from resources.dictionaries.sae_lens import load_sae_lens

__all__ = [
    "KINDS",
    "Dictionary",
    "DictionaryError",
    "Encoded",
    "SelfCheck",
    "load_dictionary",
    "refuse_bad_dictionary",
    "refuse_wrong_width",
    "self_check",
]

KINDS = ("sae_lens", "neurons", "topk_neurons")


def load_dictionary(
    kind: str,
    source: str | None = None,
    hook: str | None = None,
    width: int | None = None,
    d_in: int | None = None,
    k: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Dictionary:
    """The dictionary of this kind. `sae_lens` needs a source; neurons need hook and width, `topk_neurons` k as well.

    `seed` matters only to kinds that are random. Raises `DictionaryError` for an unknown kind, a missing argument, or a width or
    d_in that contradicts the source.
    """
    if kind == "sae_lens":
        if source is None:
            raise DictionaryError("a sae_lens dictionary needs a source: a folder that SAELens saved, or release/sae_id.")
        return load_sae_lens(source, hook, width, d_in).to(device)
    if kind not in KINDS:
        raise DictionaryError(f"unknown dictionary kind {kind!r}; known: {list(KINDS)}.")
    if hook is None:
        raise DictionaryError(f"a {kind} dictionary needs its hook, such as blocks.9.mlp.hook_post.")
    if d_in is not None and d_in != width:
        raise DictionaryError(f"{kind} at {hook} have d_in = width, but the record says d_in {d_in} and width {width}. Leave d_in out.")
    if (kind == "topk_neurons") != (k is not None):
        raise DictionaryError(f"{kind} got k = {k}: topk_neurons need k, neurons have none.")
    return load_neurons(hook, width, k).to(device)
