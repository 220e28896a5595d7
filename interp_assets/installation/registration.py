"""Registers a dictionary: its record is validated, its model and weights are tried, and it becomes a partition of the graph."""

import traceback
from collections.abc import Callable
from typing import Any

import dagster as dg

from interp_assets.config.base import UserError
from interp_assets.config.records import PLANTED_KIND, DictionaryRecord
from interp_assets.config.settings import HarvestSettings
from interp_assets.exchange.import_dictionary import check_imported
from interp_assets.installation.home import Home
from interp_assets.installation.hub_revisions import registered, with_hub_commits
from interp_assets.installation.server import prepare_instance, set_pool_limits
from interp_assets.measuring.planted import firing_line
from interp_assets.orchestration.partitions import DICTIONARIES

EXPECTED = (ValueError, OSError, RuntimeError)
"""Exceptions of the loaders with messages of their own."""


def register_record(home: Home, text: str, where: str, *, check: bool, say: Callable[[str], None]) -> DictionaryRecord:
    """The record in `text`, once it is registered. With `check`, model, hook and width are tried and the self-check is run first.

    Raises `UserError` for a malformed record, and for a record whose model or dictionary does not load. Nothing is written then.
    """
    record = home.registry.parse(text, where).with_absolute_paths()
    _ = record.selected_features  # which a file may list that is not there
    for refused in home.registry.refused({record.key: record}, home.settings).values():
        raise UserError(f"{where}: {refused}")
    record = with_hub_commits(record, registered(home, record.key), say)
    if check:
        _check(home, record, say)
    add_record(home, record)
    return record


def _check(home: Home, record: DictionaryRecord, say: Callable[[str], None]) -> None:
    """Try everything that the record names. Raises `UserError` for any failure: the model, the files and the code are the user's own."""
    try:
        if record.imported:
            say(check_imported(record))
        else:
            say(f"loading {record.model.source} and {record.source or record.kind} for the self-check")
            say(self_check_line(record))
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
    home.registry.write(record)
    prepare_instance(home)
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        set_pool_limits(instance)
        instance.add_dynamic_partitions(DICTIONARIES.name or "", [record.key])


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


def self_check_line(record: DictionaryRecord) -> str:
    """A line with the measurements of the self-check on a few contexts of the record's own corpus. Raises when the self-check fails."""
    import numpy as np

    from interp_assets.domain.examples.passages import Passages
    from interp_assets.domain.features.packing import TokenisedDocument, pack_documents
    from interp_assets.measuring.harvest import checked_dictionary, hooks_of, notes_of
    from interp_assets.measuring.missing_outputs import known_before_loading, missing_outputs
    from interp_assets.reading.token_sample import TokenSample
    from resources.corpus import read_documents
    from resources.corpus.encoding import DocumentEncoder
    from resources.model_loading import refuse_long_context
    from resources.model_provider import RealModels

    models = RealModels()
    dictionary = refuse_misfit(record) if record.reads_hook else None
    tokenizer = models.tokenizer(record.model.source, record.model.revision)
    sample = record.token_sample
    refuse_long_context(record.model.source, record.model.revision, sample.context_tokens)
    settings = HarvestSettings()
    encode = DocumentEncoder(tokenizer, sample.turns)
    documents = (TokenisedDocument(str(i), *encode(d)) for i, d in enumerate(read_documents(sample.corpus, sample.seed, sample.revisions)))
    n_tokens = min(settings.self_check_rows * sample.context_tokens, sample.n_tokens)
    packed = pack_documents(documents, sample.context_tokens, tokenizer.bos_token_id, tokenizer.eos_token_id, n_tokens)
    if packed.token_ids.size < 2:
        raise UserError(
            f"token_sample.corpus {', '.join(sample.corpus)} gives fewer than {sample.context_tokens} tokens: name more texts, or set "
            "token_sample.context_tokens lower"
        )
    if record.kind == PLANTED_KIND:
        return firing_line(record, np.asarray(packed.token_ids), tokenizer)
    assert dictionary is not None, record.kind
    model = record.model
    hooks = hooks_of([dictionary]) if known_before_loading(model.source, model.revision) else None
    subject = models.subject(model.source, model.revision, model.dtype, hooks)
    try:
        probe = TokenSample("probe", np.asarray(packed.token_ids), Passages.of(packed.is_text, packed.document_starts))
        loaded = checked_dictionary(subject, probe, record, dictionary, settings)
        missing = missing_outputs(subject, loaded.dictionary)
    finally:
        subject.close()
    fvu = "" if loaded.fvu is None else f", fraction of variance unexplained {loaded.fvu:.3f}"
    return "\n".join([f"self-check on {packed.token_ids.size:,} tokens: L0 {loaded.l0:.1f}{fvu}", *notes_of(loaded.dictionary), *missing])
