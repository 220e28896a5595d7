"""The graph on the embedded SmolLM2 and the demo's own SAE, over a few thousand tokens."""

import dagster as dg
import pytest
import yaml
from installation import Installation

from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord
from interp_assets.demo.run import RECORDS
from resources.model_provider import RealModels

pytestmark = [pytest.mark.real_model, pytest.mark.slow]
N_TOKENS = 4096
JUDGED = ("detection", "fuzzing", "embedding", "surprisal", "description_likelihood")


def demo_record(name: str, **changes: object) -> DictionaryRecord:
    """A record of the demo on a few thousand tokens."""
    content = yaml.safe_load((RECORDS / f"{name}.yaml").read_text())
    content["token_sample"]["n_tokens"] = N_TOKENS
    content["stages"]["examples"].update(n_shown=4, n_held_out=3, n_non_activating=2, min_activating=4)
    content["stages"]["explanations"] = ["token_list", "max_act", "shuffled"]
    content["stages"]["scores"] = {"matcher": ["token_list"], **{scorer: ["max_act"] for scorer in JUDGED}}
    return DictionaryRecord.model_validate({**content, **changes})


def test_two_real_features_are_explained_and_scored(installation: Installation) -> None:
    installation.models = RealModels()  # type: ignore[assignment]
    # Dense enough to have windows in 4,096 tokens: chosen from the harvest itself below.
    record = demo_record("res-2k", features=None)
    installation.register(record)
    installation.run("token_sample", "activation_shards", key=record.key)
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        l0 = connection.execute("SELECT sum(firing_count) / any_value(n_tokens) FROM feature_statistics").fetchone()[0]
        busy = connection.execute("SELECT feature FROM feature_statistics ORDER BY abs(context_density - 0.6), feature LIMIT 2").fetchall()
    assert 31 <= l0 <= 32  # k = 32 latents a token, less those that the ReLU cuts

    two = demo_record("res-2k", key="smollm2-135m/09/two", features=tuple(f for (f,) in busy))
    installation.register(two)
    installation.run_all(key=two.key)
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        asked = f"FROM verdicts WHERE dictionary = '{two.key}'"
        outcomes = dict(connection.execute(f"SELECT outcome, count(*) {asked} GROUP BY 1").fetchall())
        judged = f"{asked} AND scorer IN ('detection', 'fuzzing')"
        probabilities = connection.execute(f"SELECT min(probability), max(probability), count(probability), count(*) {judged}").fetchone()
        metrics = connection.execute(f"SELECT count(*) FROM scores WHERE dictionary = '{two.key}' AND outcome = 'ok'").fetchone()
    # Constrained replies cannot fail to parse, and every answer of the judge comes with its probability.
    assert set(outcomes) == {"answered"} and outcomes["answered"] > probabilities[2] == probabilities[3] >= 10
    assert 0 <= probabilities[0] <= probabilities[1] <= 1
    assert metrics[0] > 0


def test_an_sae_at_the_wrong_hook_is_refused_with_both_numbers(installation: Installation) -> None:
    installation.models = RealModels()  # type: ignore[assignment]
    record = demo_record("res-2k", hook="blocks.25.hook_resid_post")
    installation.register(record)
    installation.run("token_sample", key=record.key)
    with pytest.raises(UserError, match=r"L0 = .*FVU = "):
        installation.run("activation_shards", key=record.key)


def test_an_unknown_model_is_refused_by_name(installation: Installation) -> None:
    installation.models = RealModels()  # type: ignore[assignment]
    record = demo_record("res-2k", model={"source": "embedded:smollm3"})
    installation.register(record)
    result: dg.ExecuteInProcessResult = installation.run("token_sample", key=record.key, raise_on_error=False)
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert "smollm2-135m-instruct" in str(errors[0])
