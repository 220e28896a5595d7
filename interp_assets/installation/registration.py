"""Registering a dictionary: its record is validated, its model and weights are tried, and it becomes a partition of the graph."""

from collections.abc import Callable

import dagster as dg

from interp_assets.config.base import UserError
from interp_assets.config.records import PLANTED_KIND, DictionaryRecord
from interp_assets.config.settings import HarvestSettings
from interp_assets.exchange.import_dictionary import check_imported
from interp_assets.installation.home import Home
from interp_assets.installation.server import prepare_instance, set_pool_limits
from interp_assets.measuring.planted import firing_line
from interp_assets.orchestration.partitions import DICTIONARIES


def register_record(home: Home, text: str, where: str, *, check: bool, say: Callable[[str], None]) -> DictionaryRecord:
    """The record in `text`, registered. With `check` the model, hook, width and self-check are tried first.

    Raises `UserError` for a malformed record, and for one whose model or dictionary does not load; nothing is written then.
    """
    record = home.registry.parse(text, where)
    for refused in home.registry.refused({record.key: record}, home.settings).values():
        raise UserError(f"{where}: {refused}")
    if record.imported and check:
        say(check_imported(record))
    elif check:
        say(f"loading {record.model.source} and {record.source or record.kind} for the self-check")
        try:
            say(self_check_line(record))
        except (ValueError, OSError, RuntimeError) as error:
            reason = str(error).removeprefix(f"{record.key}: ")
            raise UserError(f"dictionary {record.key} does not load: {reason}") from error
    add_record(home, record)
    return record


def add_record(home: Home, record: DictionaryRecord) -> None:
    """Write the record and add its partition."""
    home.registry.write(record)
    prepare_instance(home)
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        set_pool_limits(instance)
        instance.add_dynamic_partitions(DICTIONARIES.name or "", [record.key])


def self_check_line(record: DictionaryRecord) -> str:
    """What the self-check measured on a few real contexts of the record's own corpus. Raises when it fails."""
    import numpy as np

    from interp_assets.domain.features.packing import pack_documents
    from interp_assets.measuring.harvest import checked_dictionary
    from interp_assets.reading.token_sample import TokenSample
    from resources.corpus import read_documents
    from resources.model_provider import RealModels

    models = RealModels()
    tokenizer = models.tokenizer(record.model.source, record.model.revision)
    sample = record.token_sample
    settings = HarvestSettings()
    documents = ((str(i), tokenizer.encode(d.text)) for i, d in enumerate(read_documents(sample.corpus, sample.seed)))
    n_tokens = min(settings.self_check_rows * sample.context_tokens, sample.n_tokens)
    packed = pack_documents(documents, sample.context_tokens, tokenizer.bos_token_id, tokenizer.eos_token_id, n_tokens)
    if record.kind == PLANTED_KIND:
        return firing_line(record, np.asarray(packed.token_ids), tokenizer)
    subject = models.subject(record.model.source, record.model.revision, record.model.dtype)
    try:
        probe = TokenSample("probe", np.asarray(packed.token_ids))
        loaded = checked_dictionary(subject, probe, record, models, settings)
    finally:
        subject.close()
    fvu = "" if loaded.fvu is None else f", fraction of variance unexplained {loaded.fvu:.3f}"
    return f"self-check on {packed.token_ids.size:,} tokens: L0 {loaded.l0:.1f}{fvu}"
