"""Data versions of the stages that are not range stages."""

from collections.abc import Callable, Mapping, Sequence

from interp_assets.config.base import fingerprint
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.orchestration.stage import ABSENT, Upstream, Versions
from interp_assets.tables import (
    EXPLANATIONS,
)

SAMPLE_CODE_VERSION = "2"


HARVEST_CODE_VERSION = "1"


NEIGHBOURS_CODE_VERSION = "1"


EMBEDDINGS_CODE_VERSION = "1"


MATCHES_CODE_VERSION = "1"


NO_EMBEDDINGS = "not-asked"
"""Version of a dictionary's embeddings where its settings ask for no similar windows."""


NO_MATCHES = "not-asked"
"""Version of a dictionary's matches where its settings name no other dictionary."""


def sample_version(record: DictionaryRecord, tokenizer_revision: str) -> str:
    """Content address of a token sample: equal for two dictionaries with the same tokenizer, corpus, length and seed.

    The content of corpus files on this machine is part of it.
    """
    contents = record.corpus_contents
    return fingerprint(SAMPLE_CODE_VERSION, tokenizer_revision, record.token_sample, *([contents] if contents else []))


def activations_version(record: DictionaryRecord, stages: StageSettings, sample: str) -> str:
    """Data version of a dictionary's activations on a sample, the same for all its ranges."""
    cap = stages.harvest.max_activations
    return fingerprint(HARVEST_CODE_VERSION, record.fingerprint, sample, *([] if cap is None else [cap, stages.seed]))


def neighbours_version(settings: StageSettings, activations: str) -> str:
    """Data version of a dictionary's feature neighbours."""
    return fingerprint(NEIGHBOURS_CODE_VERSION, settings.neighbours, activations)


def embeddings_version(record: DictionaryRecord, settings: StageSettings, sample: str, encoder_revision: Callable[[], str]) -> str:
    """Content address of the window embeddings that a dictionary's examples need; NO_EMBEDDINGS where the examples need none.

    Equal for two dictionaries with the same sample and window length. The encoder is looked up only where it is needed.
    """
    if not record.has_activations or not settings.examples.asks_for("similar"):
        return NO_EMBEDDINGS
    partitions = [settings.examples.window_tokens, *(["across documents"] if settings.examples.across_documents else [])]
    return fingerprint(EMBEDDINGS_CODE_VERSION, sample, *partitions, encoder_revision())


def matched_explanations(
    lake: Versions, record: DictionaryRecord, others: Sequence[DictionaryRecord], platform: PlatformSettings
) -> dict[str, str]:
    """Versions of all explanations that a dictionary's matches compare, by `<method> <dictionary>`.

    ABSENT for explanations that another dictionary does not have yet. Raises `LakeError` naming explanations that this dictionary does not
    have.
    """
    own, versions = platform.stage_settings(record.stages).explanations, {}
    for other in others:
        for method in own:
            if method in platform.stage_settings(other.stages).explanations:
                for one in (record, other):
                    source = Upstream(EXPLANATIONS, {"explanation_method": method}, all_ranges=lambda _: True, optional=one is not record)
                    versions[f"{method} {one.first_key}"] = source.version(lake, one, RangeKey(one.key, FEATURE_RANGE_KEYS[0]))
    return versions


def matches_version(
    record: DictionaryRecord,
    others: Sequence[DictionaryRecord],
    settings: StageSettings,
    explanations: Mapping[str, str],
    encoder_revision: Callable[[], str],
) -> str:
    """Data version of a dictionary's feature matches; NO_MATCHES where its settings ask for none.

    `explanations` is the result of `matched_explanations`. The encoder is looked up only where explanations are compared.
    """
    if not others:
        return NO_MATCHES
    weights = [record.fingerprint, *(other.fingerprint for other in others)]
    encoder = encoder_revision() if explanations else ABSENT
    return fingerprint(MATCHES_CODE_VERSION, settings.matching.n_nearest, settings.seed, weights, dict(explanations), encoder)
