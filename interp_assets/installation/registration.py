"""Registers dictionaries: records are validated, their models and weights are tried, and each becomes a partition of the graph."""

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from interp_assets.config.base import UserError, fingerprint
from interp_assets.config.records import PLANTED_KIND, DictionaryRecord, ModelSource
from interp_assets.config.settings import HarvestSettings
from interp_assets.exchange.import_dictionary import check_imported
from interp_assets.installation.home import Home
from interp_assets.installation.hub_revisions import registered, with_hub_commits
from interp_assets.installation.instance import opened_instance
from interp_assets.installation.server import prepare_instance, set_pool_limits
from interp_assets.measuring.planted import firing_line
from interp_assets.orchestration.partitions import DICTIONARIES

EXPECTED = (ValueError, OSError, RuntimeError)
"""Exceptions of the loaders with messages of their own."""


def register_record(home: Home, text: str, where: str, *, check: bool, say: Callable[[str], None]) -> DictionaryRecord:
    """The record in `text`, once it is registered. With `check`, model, hook and width are tried and the self-check is run first.

    Raises `UserError` for a malformed record, and for a record whose model or dictionary does not load. Nothing is written then.
    """
    record = _settled(home, home.registry.parse(text, where), where, say)
    if check:
        with CheckedOn((record,)) as subjects:
            _check(home, record, subjects, say)
    add_record(home, record)
    return record


def register_records(
    home: Home, records: Sequence[DictionaryRecord], where: str, *, check: bool, say: Callable[[str], None]
) -> tuple[list[DictionaryRecord], dict[str, str]]:
    """(registered records, reason by key of each record that did not pass its self-check). Each model is loaded once for all self-checks.

    Raises `UserError` where a record cannot be laid over the site's settings; nothing is written then.
    """
    settled = [_settled(home, record, where, say) for record in records]
    failures: dict[str, str] = {}
    if check:
        with CheckedOn(settled) as subjects:
            for number, record in enumerate(settled, 1):
                say(f"{number} of {len(settled)}: {record.key}")
                try:
                    _check(home, record, subjects, say)
                except UserError as error:
                    failures[record.key] = str(error)
                    say(f"error: {error}")
    passed = [record for record in settled if record.key not in failures]
    if passed:
        add_records(home, passed)
    return passed, failures


def _settled(home: Home, record: DictionaryRecord, where: str, say: Callable[[str], None]) -> DictionaryRecord:
    """A record with paths that hold from every folder, and with the commits of its hub repositories.

    Raises `UserError` for features that a file lists and the dictionary does not have, and for stages that cannot be laid over the site's
    settings.
    """
    home.moves.refuse(record.key)
    record = record.with_absolute_paths()
    _ = record.selected_features  # which a file may list that is not there
    for refused in home.registry.refused({record.key: record}, home.settings).values():
        raise UserError(f"{where}: {refused}")
    return with_hub_commits(record, registered(home, record.key), say)


def _check(home: Home, record: DictionaryRecord, subjects: "CheckedOn", say: Callable[[str], None]) -> None:
    """Try everything that the record names. Raises `UserError` for any failure: the model, the files and the code are the user's own."""
    try:
        if record.imported:
            say(check_imported(record))
        else:
            say(f"loading {record.model.source} and {record.source or record.kind} for the self-check")
            say(self_check_line(record, subjects))
    except KeyboardInterrupt:
        raise
    except EXPECTED as error:
        raise UserError(f"dictionary {record.key} does not load: {str(error).removeprefix(f'{record.key}: ')}") from error
    except BaseException as error:  # code of libraries, and the user's own in a callable dictionary, which may call sys.exit
        place = home.root / "logs" / "register.log"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
        told = f"{type(error).__name__}: {error}".rstrip(": ")
        raise UserError(f"dictionary {record.key} does not load: {told}. The whole traceback is in {place}") from error


def add_record(home: Home, record: DictionaryRecord) -> None:
    """Write the record and add its partition."""
    add_records(home, [record])


def add_records(home: Home, records: Sequence[DictionaryRecord]) -> None:
    """Write the records and add their partitions."""
    for record in records:
        home.registry.write(record)
    prepare_instance(home)
    with opened_instance(home) as instance:
        set_pool_limits(instance)
        instance.add_dynamic_partitions(DICTIONARIES.name or "", [record.key for record in records])


def refuse_misfit(record: DictionaryRecord) -> Any:
    """The record's dictionary on the CPU, once hook, widths and context fit the model's configuration. The model's weights are not read.

    Raises `WeightsError`, `UnknownHook`, `UnknownFamily`, `DictionaryError` or `UserError` for the first thing that does not fit.
    """
    from resources.dictionaries import load_dictionary, read_hooks, refuse_wrong_fields
    from resources.subject.outline import model_outline

    given = {name: value for name, value in record.loader_fields.items() if value is not None}
    refuse_wrong_fields(record.kind, given)
    outline = model_outline(record.model.source, record.model.revision)
    for hook in filter(None, (record.hook, record.output_hook, *(record.reads or ()), *(record.writes or ()))):
        outline.refuse_unknown_hook(hook)
    context, longest = record.token_sample.context_tokens, outline.longest_context
    if longest is not None and context > longest:
        raise UserError(
            f"token_sample.context_tokens is {context:,}, and {record.model.source} has positions for {longest:,} tokens at most. Set it "
            f"to {longest:,} or less."
        )
    dictionary = load_dictionary(record.kind, **record.loader_fields)
    hooks = read_hooks(dictionary)
    widths = [outline.width_at(hook) for hook in hooks]
    found = None if None in widths else sum(filter(None, widths))
    if found is not None and found != dictionary.d_in:
        raise UserError(
            f"the dictionary reads {dictionary.d_in:,} dimensions, and {' and '.join(hooks)} of {record.model.source} has {found:,}. "
            "Correct the record's model, hook or width."
        )
    return dictionary


class CheckedOn:
    """The models that self-checks of `records` run on: each is loaded once, as deep as all of its records need, and so is each sample.

    Used as a context: the model in memory is freed at its end, and before another model is loaded.
    """

    def __init__(self, records: Sequence[DictionaryRecord]) -> None:
        self._records = records
        self._subject: tuple[ModelSource, Any] | None = None
        self._probes: dict[str, Any] = {}

    def __enter__(self) -> "CheckedOn":
        return self

    def __exit__(self, *_: object) -> None:
        self._free()

    def _free(self) -> None:
        if self._subject is not None:
            self._subject[1].close()
        self._subject = None

    def subject(self, record: DictionaryRecord, dictionary: Any) -> Any:
        """The subject model of a record whose dictionary is loaded."""
        from interp_assets.measuring.harvest import hooks_of
        from interp_assets.measuring.missing_outputs import known_before_loading
        from resources.model_provider import RealModels

        model = record.model
        if self._subject is None or self._subject[0] != model:
            self._free()
            same = [one for one in self._records if one.model == model and one.reads_hook]
            hooks = None
            if known_before_loading(model.source, model.revision):
                hooks = hooks_of([dictionary]) if len(same) < 2 else self._hooks_of_all(same)
            self._subject = model, RealModels().subject(model.source, model.revision, model.dtype, hooks)
        return self._subject[1]

    @staticmethod
    def _hooks_of_all(records: Sequence[DictionaryRecord]) -> tuple[str, ...] | None:
        """Every hook that the records name; None, for the whole model, where a dictionary's own files may name a deeper one."""
        if any(record.reads or record.writes or (record.output_hook is None and record.kind not in ONE_HOOK) for record in records):
            return None
        return tuple(sorted({hook for record in records for hook in (record.hook, record.output_hook) if hook}))

    def probe(self, record: DictionaryRecord) -> Any:
        """The first contexts of a record's own token sample, as a `TokenSample`. Raises `UserError` for a corpus that gives too few."""
        name = fingerprint(record.model, record.token_sample)
        if name not in self._probes:
            self._probes[name] = _probe(record)
        return self._probes[name]


ONE_HOOK = ("sparsify", "dictionary_learning", "neurons", "topk_neurons", "rotated_topk_neurons", "random_topk")
"""Kinds that write where they read, unless their record names an output hook."""


def _probe(record: DictionaryRecord) -> Any:
    import numpy as np

    from interp_assets.domain.examples.passages import Passages
    from interp_assets.domain.features.packing import TokenisedDocument, pack_documents
    from interp_assets.reading.token_sample import TokenSample
    from resources.corpus import read_documents
    from resources.corpus.encoding import DocumentEncoder
    from resources.model_loading import refuse_long_context
    from resources.model_provider import RealModels

    tokenizer, sample = RealModels().tokenizer(record.model.source, record.model.revision), record.token_sample
    refuse_long_context(record.model.source, record.model.revision, sample.context_tokens)
    encode = DocumentEncoder(tokenizer, sample.turns)
    documents = (TokenisedDocument(str(i), *encode(d)) for i, d in enumerate(read_documents(sample.corpus, sample.seed, sample.revisions)))
    n_tokens = min(HarvestSettings().self_check_rows * sample.context_tokens, sample.n_tokens)
    packed = pack_documents(documents, sample.context_tokens, tokenizer.bos_token_id, tokenizer.eos_token_id, n_tokens)
    if packed.token_ids.size < 2:
        raise UserError(
            f"token_sample.corpus {', '.join(sample.corpus)} gives fewer than {sample.context_tokens} tokens: name more texts, or set "
            "token_sample.context_tokens lower"
        )
    return TokenSample("probe", np.asarray(packed.token_ids), Passages.of(packed.is_text, packed.document_starts))


def self_check_line(record: DictionaryRecord, subjects: CheckedOn) -> str:
    """A line with the measurements of the self-check on a few contexts of the record's own corpus. Raises when the self-check fails."""
    from interp_assets.measuring.harvest import checked_dictionary, notes_of
    from interp_assets.measuring.missing_outputs import missing_outputs
    from resources.model_provider import RealModels

    dictionary = refuse_misfit(record) if record.reads_hook else None
    probe = subjects.probe(record)
    if record.kind == PLANTED_KIND:
        return firing_line(record, probe.tokens, RealModels().tokenizer(record.model.source, record.model.revision))
    assert dictionary is not None, record.kind
    subject = subjects.subject(record, dictionary)
    loaded = checked_dictionary(subject, probe, record, dictionary, HarvestSettings())
    missing = missing_outputs(subject, loaded.dictionary)
    fvu = "" if loaded.fvu is None else f", fraction of variance unexplained {loaded.fvu:.3f}"
    fvu += "" if loaded.agreement is None else f", {loaded.agreement.told()}"
    return "\n".join([f"self-check on {probe.tokens.size:,} tokens: L0 {loaded.l0:.1f}{fvu}", *notes_of(loaded.dictionary), *missing])
