"""Dictionaries of features by kind. `load_dictionary` is the only way to make a dictionary."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from resources.dictionaries.callable import load_callable
from resources.dictionaries.circuit_tracer import load_circuit_tracer
from resources.dictionaries.dictionary_learning import load_dictionary_learning
from resources.dictionaries.gemma_scope import load_gemma_scope
from resources.dictionaries.goodfire import load_goodfire
from resources.dictionaries.interface import (
    Dictionary,
    DictionaryError,
    Encoded,
    NoDecoder,
    SelfCheck,
    checked_hooks,
    read_hooks,
    refuse_bad_dictionary,
    refuse_wrong_width,
    rows_by_hook,
    self_check,
    side_by_side,
    written_hooks,
)
from resources.dictionaries.neurons import load_neurons
from resources.dictionaries.openai import load_openai
from resources.dictionaries.openmoss import load_openmoss
from resources.dictionaries.qwen_scope import load_qwen_scope
from resources.dictionaries.random_directions import load_random_topk, load_rotated_topk_neurons
from resources.dictionaries.sae_lens import load_sae_lens, repository_of
from resources.dictionaries.sources import hub_repository, read_at
from resources.dictionaries.sparsify import load_sparsify

__all__ = [
    "KINDS",
    "Dictionary",
    "DictionaryError",
    "Encoded",
    "Kind",
    "NoDecoder",
    "SelfCheck",
    "checked_hooks",
    "load_dictionary",
    "read_hooks",
    "refuse_bad_dictionary",
    "refuse_wrong_fields",
    "refuse_wrong_width",
    "repository_of_source",
    "rows_by_hook",
    "self_check",
    "side_by_side",
    "written_hooks",
]


@dataclass(frozen=True)
class Kind:
    """How a kind is loaded, the fields that it needs, and the fields that it may have. All fields are passed to `load` by name."""

    load: Callable[..., Any]
    needs: tuple[str, ...]
    may_have: tuple[str, ...] = ()

    @property
    def may_be_on_the_hub(self) -> bool:
        """Whether a source of this kind may be a repository on the hub."""
        return "source" in self.needs and self.load is not load_callable

    @property
    def fields_it_may_have(self) -> tuple[str, ...]:
        """`may_have`, and `revision` where the source may be on the hub."""
        return (*self.may_have, *(["revision"] if self.may_be_on_the_hub else []))


KINDS = {
    "sae_lens": Kind(load_sae_lens, ("source",), ("hook", "output_hook", "width", "d_in")),
    "gemma_scope": Kind(load_gemma_scope, ("source", "hook"), ("output_hook", "width", "d_in", "reads", "writes")),
    "sparsify": Kind(load_sparsify, ("source", "hook"), ("output_hook", "width", "d_in")),
    "dictionary_learning": Kind(load_dictionary_learning, ("source", "hook"), ("output_hook", "width", "d_in")),
    "circuit_tracer": Kind(load_circuit_tracer, ("source", "hook"), ("output_hook", "width", "d_in", "k", "reads", "writes")),
    "openmoss": Kind(load_openmoss, ("source", "hook"), ("output_hook", "width", "d_in")),
    "qwen_scope": Kind(load_qwen_scope, ("source", "hook"), ("width", "d_in", "k")),
    "goodfire": Kind(load_goodfire, ("source", "hook"), ("width", "d_in")),
    "openai": Kind(load_openai, ("source", "hook"), ("width", "d_in")),
    "neurons": Kind(load_neurons, ("hook", "width")),
    "topk_neurons": Kind(load_neurons, ("hook", "width", "k")),
    "rotated_topk_neurons": Kind(load_rotated_topk_neurons, ("hook", "width", "k"), ("seed",)),
    "random_topk": Kind(load_random_topk, ("hook", "width", "d_in", "k"), ("seed",)),
    "callable": Kind(load_callable, ("source", "hook", "width", "d_in"), ("output_hook",)),
}


def load_dictionary(
    kind: str,
    source: str | None = None,
    hook: str | None = None,
    output_hook: str | None = None,
    width: int | None = None,
    d_in: int | None = None,
    k: int | None = None,
    seed: int | None = None,
    revision: str | None = None,
    device: str = "cpu",
    reads: tuple[str, ...] | None = None,
    writes: tuple[str, ...] | None = None,
) -> Dictionary:
    """The dictionary of this kind on `device`, from the fields of its record; None is a field that is not given. A source on the hub is
    read at the commit `revision`, or at the newest.

    Raises `DictionaryError` for an unknown kind, for a missing field, for a field that the kind does not have, for a width or d_in that
    contradicts the source, and for files of another content than the kind needs.
    """
    record = {"source": source, "hook": hook, "output_hook": output_hook, "width": width, "d_in": d_in, "k": k, "seed": seed}
    record |= {"reads": reads, "writes": writes}
    given = {name: value for name, value in record.items() if value is not None}
    refuse_wrong_fields(kind, [*given, *(["revision"] if revision is not None else [])])
    repository = repository_of_source(kind, source) if revision is not None else None
    if revision is not None and repository is None:
        raise DictionaryError(
            f"a {kind} dictionary from {source!r} has revision {revision!r}, and this source is no repository on the hub. Leave revision "
            "out: the content of local files is noted by itself."
        )
    try:
        with read_at(repository, revision):
            return KINDS[kind].load(**given).to(device)
    except DictionaryError:
        raise
    except Exception as error:  # libraries raise anything for truncated files, Python for content of another shape
        raise DictionaryError(
            f"{kind} dictionary {source or hook} cannot be loaded: {type(error).__name__}: {error}. Check that its files are whole and are "
            f"files of the kind {kind}."
        ) from error


def repository_of_source(kind: str, source: str | None) -> str | None:
    """The hub repository, owner/name, that a dictionary is read from; None for a source on this machine, and for kinds without files."""
    if source is None or kind not in KINDS or not KINDS[kind].may_be_on_the_hub:
        return None
    return repository_of(source) if kind == "sae_lens" else hub_repository(source)


def refuse_wrong_fields(kind: str, given: Collection[str]) -> None:
    """Raise `DictionaryError` with the names unless `given` are the fields of this kind."""
    if kind not in KINDS:
        raise DictionaryError(f"unknown dictionary kind {kind!r}; known: {list(KINDS)}.")
    needs, may_have = KINDS[kind].needs, KINDS[kind].fields_it_may_have
    missing = [name for name in needs if name not in given]
    extra = [name for name in given if name not in (*needs, *may_have)]
    if missing or extra:
        problems = [f"needs {missing}"] * bool(missing) + [f"has no {extra}"] * bool(extra)
        optional = f" and may have {list(may_have)}" if may_have else ""
        raise DictionaryError(f"a {kind} dictionary {' and '.join(problems)}. It takes {list(needs)}{optional}.")
