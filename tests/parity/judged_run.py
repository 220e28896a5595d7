"""A dictionary whose verdicts cover every way in which a feature's judging can end, drawn with a fixed seed, in a lake of its own.

python tests/parity/judged_run.py FOLDER     # writes it as a delphi run; delphi_metrics.py says what delphi makes of it
"""

import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.scoring import ScoringSettings, detection, fuzzing
from interp_assets.domain.trials import ScorerInput, ScoreRow, Verdict
from interp_assets.exchange.export_delphi_results import export_delphi_results
from interp_assets.tables import EXAMPLES, EXPLANATIONS, SCHEMA_VERSION, SCORES, VERDICTS, Table
from resources.store.lake import Lake

KEY, HOOKPOINT, METHOD = "parity/00/neurons", "layers.0", "max_act"
RECORD = DictionaryRecord(key=KEY, hook=HOOKPOINT, kind="topk_neurons", k=4, width=16)
SCORERS = (detection, fuzzing)
SETTINGS = ScoringSettings()
UNEXPLAINED = 15


@dataclass(frozen=True)
class Judging:
    """How one feature is judged: windows of each class, the judge's rate of yes on each, and what share of windows has no answer.

    `probability_share` of the answers come with a probability.
    """

    n_positive: int = 10
    n_negative: int = 10
    yes_on_positive: float = 0.8
    yes_on_negative: float = 0.3
    unanswered: float = 0.0
    probability_share: float = 1.0


JUDGINGS = (
    Judging(), Judging(n_positive=7, n_negative=13), Judging(yes_on_positive=0.5, yes_on_negative=0.5), Judging(1, 1),
    Judging(yes_on_positive=1, yes_on_negative=1), Judging(yes_on_positive=0, yes_on_negative=0),
    Judging(yes_on_positive=1, yes_on_negative=0), Judging(yes_on_positive=0, yes_on_negative=1),
    Judging(unanswered=0.3), Judging(unanswered=0.6), Judging(unanswered=1.0),
    Judging(n_negative=0), Judging(n_positive=0),
    Judging(probability_share=0.0), Judging(probability_share=0.5),
)  # fmt: skip
"""By feature, from 0."""

Rows = dict[Table, list[dict]]


def verdicts_of(rng: random.Random, scorer: str, feature: int, judging: Judging) -> list[Verdict]:
    """Verdicts in trials of five, as a scorer grades them."""
    found = []
    truths = [True] * judging.n_positive + [False] * judging.n_negative
    rng.shuffle(truths)
    for i, truth in enumerate(truths):
        yes, answered = rng.random() < (judging.yes_on_positive if truth else judging.yes_on_negative), rng.random() >= judging.unanswered
        probability = round(rng.uniform(0.5, 1) if yes else rng.uniform(0, 0.5), 2)  # two places, so that there are ties
        known = answered and rng.random() < judging.probability_share
        found.append(
            Verdict(
                trial_id=f"{scorer}/{METHOD}/{feature}/{i // 5}", feature=feature, explanation_method=METHOD, scorer=scorer, item=i % 5,
                example_id=f"{feature}-{i}", truth=truth, prediction=yes if answered else None, probability=probability if known else None,
                stratum=i % 10 if truth else None, variant="activating" if truth else "random",
                outcome="answered" if answered else "unparsable",
            )
        )  # fmt: skip
    return found


def example(rng: random.Random, verdict: Verdict) -> dict:
    """The window of a verdict: four tokens."""
    tokens = [f" {rng.choice(('cat', 'Zürich', '<<', 'of'))}" for _ in range(4)]
    activations = [0.0, 1.5 * verdict.truth, 0.0, 0.25 * verdict.truth]
    return {
        "feature": verdict.feature, "example_id": verdict.example_id, "role": "held_out",
        "kind": "activating" if verdict.truth else "non_activating", "sampling": "quantiles" if verdict.truth else "random",
        "stratum": verdict.stratum, "row": 0, "start": 0, "token_ids": [1, 2, 3, 4], "tokens": tokens,
        "begins_in_word": False, "ends_in_word": False, "activations": activations,
        "max_activation": max(activations),
    }  # fmt: skip


def explanation(feature: int) -> dict:
    """An explanation, but of the last feature none."""
    text = None if feature == UNEXPLAINED else f"words like number {feature}"
    return {
        "feature": feature, "explanation_method": METHOD, "outcome": "ok" if text else "unparsable", "explanation": text, "raw_reply": "",
        "replies": [], "donor_feature": None, "model": "judge", "prompt_version": "1",
    }  # fmt: skip


def judged_lake(root: Path) -> tuple[Lake, list[ScoreRow]]:
    """A lake with the explanations, examples, verdicts and scores of RECORD, and the scores as the scorers sum them up."""
    rng = random.Random(0)
    lake, scores = Lake(str(root), SCHEMA_VERSION), list[ScoreRow]()
    for index, feature_range in enumerate(FEATURE_RANGE_KEYS):
        key = RangeKey(KEY, feature_range)
        assert RECORD.features_of(key).tolist() == [index]
        graded = {s.NAME: verdicts_of(rng, s.NAME, index, JUDGINGS[index]) if index < len(JUDGINGS) else [] for s in SCORERS}
        _write(lake, EXPLANATIONS, key, {"explanation_method": METHOD}, [explanation(index)])
        # a window's truth differs between the scorers here: each has examples of its own
        examples = [example(rng, v) | {"example_id": f"{name}-{v.example_id}"} for name, verdicts in graded.items() for v in verdicts]
        _write(lake, EXAMPLES, key, {}, examples)
        for scorer in SCORERS:
            verdicts = graded[scorer.NAME]
            rows = [asdict(v) | {"trial": v.trial_id, "example_id": f"{scorer.NAME}-{v.example_id}"} for v in verdicts]
            _write(lake, VERDICTS, key, {"scorer": scorer.NAME}, rows)
            summed = scorer.summarise(ScorerInput(index, METHOD, "words", (), (), ()), verdicts, SETTINGS.of(scorer), 10, 0)
            _write(
                lake, SCORES, key, {"scorer": scorer.NAME}, [asdict(row) | {"headline": row.metric == scorer.HEADLINE} for row in summed]
            )
            scores += summed
    return lake, scores


def _write(lake: Lake, table: Table, key: RangeKey, extra: dict[str, str], rows: list[dict]) -> None:
    here = lake_partition(key)
    content = pa.Table.from_pylist([{**here, **row} for row in rows], schema=table.schema)
    lake.write(table.name, {**extra, **here}, table.schema, content, "1")


def export_judged_run(folder: Path, lake: Lake, say: Callable[[str], None] = lambda line: None) -> None:
    """Write the run's results to a folder."""
    export_delphi_results(lake, RECORD, folder, method=METHOD, hookpoint=HOOKPOINT, say=say)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as root:
        export_judged_run(Path(sys.argv[1]), judged_lake(Path(root))[0], print)
