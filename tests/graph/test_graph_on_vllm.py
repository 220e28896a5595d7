"""The graph on the real vLLM engine in process: SmolLM2 explains, then judges by detection and fuzzing. Run by `make test-vllm`."""

import pytest
import yaml
from installation import Installation
from test_graph_on_the_real_model import demo_record

from resources.model_provider import RealModels

pytest.importorskip("vllm", reason="the vLLM engine is not installed: make test-vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_features_are_explained_and_scored_through_vllm(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    engine = {"backend": "vllm", "options": {"dtype": "float32", "max_model_len": 2048}, "require": ["answer_probabilities"]}
    installation.home.root.mkdir(parents=True, exist_ok=True)
    installation.home.settings_file.write_text(yaml.safe_dump({"explainer": engine, "scorer": engine}))
    installation.models = RealModels()  # type: ignore[assignment]
    record = demo_record("res-2k", key="smollm2-135m/09/dense", features=None)
    installation.register(record)
    installation.run("token_sample", "activation_shards", key=record.key)
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        busy = connection.execute("SELECT feature FROM feature_statistics ORDER BY abs(context_density - 0.6), feature LIMIT 2").fetchall()
    two = demo_record("res-2k", key="smollm2-135m/09/two", features=tuple(feature for (feature,) in busy))
    installation.register(two)
    installation.run_all(key=two.key)
    installation.home.warehouse.build()
    here = f"WHERE dictionary = '{two.key}'"
    judged = f"{here} AND scorer IN ('detection', 'fuzzing')"
    with installation.home.warehouse.open() as connection:
        explained = connection.execute(f"SELECT count(*) FROM explanations {here} AND outcome = 'ok' AND model = $1", [record.model.source])
        assert explained.fetchone()[0] >= 1
        outcomes = dict(connection.execute(f"SELECT outcome, count(*) FROM verdicts {judged} GROUP BY 1").fetchall())
        given = connection.execute(f"SELECT count(probability) FROM verdicts {judged} AND probability BETWEEN 0 AND 1").fetchone()
        scored = connection.execute(f"SELECT DISTINCT scorer FROM scores {judged} AND outcome = 'ok' ORDER BY 1").fetchall()
        cached = connection.execute(f"SELECT sum(cached_tokens), sum(price_usd) FROM ledger {here}").fetchone()
    assert set(outcomes) == {"answered"} and given == (outcomes["answered"],)
    assert scored == [("detection",), ("fuzzing",)]
    assert cached[0] > 0 and cached[1] == 0
