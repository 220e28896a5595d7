"""What the settings ask to be taken again of a dictionary, what that depends on, and what it asks of language models."""

from collections.abc import Iterator
from dataclasses import dataclass

from interp_assets.config.base import fingerprint
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.domain.scoring import SCORERS, Scorer
from interp_assets.domain.stability import WRITTEN_AGAIN, replicates, written_again
from interp_assets.domain.trials import NO_EXPLANATION
from interp_assets.orchestration.stage import Versions
from interp_assets.tables import EXAMPLES, LEDGER, REPEATED_SCORES, SCORE_VARIANCES
from resources.store.lake import Lake

NAME = "score_stability"
CODE_VERSION = "1"
NOT_ASKED = "not-asked"
"""Version of the replicates of a dictionary whose settings ask for none."""


@dataclass(frozen=True)
class AskedAgain:
    """Questions about a feature: the questions of the asset `like` about the explanations of `method`, so many `times`."""

    like: str
    method: str
    times: int

    @property
    def asset(self) -> str:
        """The name under which the ledger counts the questions: score_stability/<explainer or scorer>."""
        return ledger_name(self.like.split("/")[1])


def ledger_name(name: str) -> str:
    """The name in the ledger of the questions of an explainer or scorer."""
    return f"{NAME}/{name}"


def asks_for_stability(stages: StageSettings) -> bool:
    """Whether a dictionary's settings ask for replicates."""
    return bool(stages.taken_again)


def holds_stability(lake: Lake, record: DictionaryRecord) -> bool:
    """Whether the lake has replicates of a dictionary, current or old; replicates left by a killed run count."""
    return any(lake.holds_rows(table.name, {"dictionary": record.key}) for table in (REPEATED_SCORES, SCORE_VARIANCES))


def asked_again(stages: StageSettings) -> Iterator[AskedAgain]:
    """What is asked about each feature, first of the explainer, then of each scorer."""
    settings, scorers = stages.stability, stages.taken_again
    if any("explanation" in scorer.READS for scorer in scorers):
        yield AskedAgain(f"explanations/{settings.method}", settings.method, settings.n_draws * settings.n_explanations)
    for scorer in scorers:
        yield AskedAgain(f"scores/{scorer.NAME}", method_of(scorer, stages), len(replicates(scorer, settings)))


def method_of(scorer: Scorer, stages: StageSettings) -> str:
    """The explanation method in the rows of a scorer."""
    return stages.stability.method if "explanation" in scorer.READS else NO_EXPLANATION


def stability_inputs(lake: Versions, record: DictionaryRecord, stages: StageSettings) -> dict[str, str]:
    """Data versions of the examples of every range; none where nothing is asked for. Raises `LakeError` naming absent examples."""
    if not asks_for_stability(stages):
        return {}
    keys = [RangeKey(record.key, name) for name in FEATURE_RANGE_KEYS]
    return {f"examples {key.feature_range}": lake.require(EXAMPLES.name, lake_partition(key)).data_version for key in keys}


def stability_version(stages: StageSettings, platform: PlatformSettings, inputs: dict[str, str]) -> str:
    """Data version of a dictionary's replicates; NOT_ASKED where the settings ask for none."""
    if not asks_for_stability(stages):
        return NOT_ASKED
    explainer = written_again(stages.stability.method)
    judged = []
    for scorer in stages.taken_again:
        who = platform.model_of(scorer.MODEL)
        judged.append([scorer.NAME, scorer.VERSION, stages.scoring.of(scorer), who and who.versioned_settings])
    written = [explainer.VERSION, stages.explaining.of(explainer), platform.explainer.versioned_settings]
    return fingerprint(
        NAME, CODE_VERSION, stages.stability, stages.examples, written, judged, stages.scoring.n_bootstrap, stages.scoring.sequential,
        stages.seed, inputs,
    )  # fmt: skip


def remove_ledger(lake: Lake, dictionary: str) -> None:
    """Remove what the ledger has of earlier replicates of a dictionary: other features may have been asked about, and by other scorers."""
    for name in (ledger_name(one.NAME) for one in (*WRITTEN_AGAIN, *SCORERS)):
        if lake.holds_rows(LEDGER.name, {"asset": name, "dictionary": dictionary}):
            for feature_range in FEATURE_RANGE_KEYS:
                lake.remove(LEDGER.name, {"asset": name, **lake_partition(RangeKey(dictionary, feature_range))})
