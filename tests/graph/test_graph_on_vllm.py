"""The graph on the real vLLM engine: SmolLM2 explains, then judges by detection and fuzzing. Run by `make test-vllm`."""

import shutil
import threading
import time
from pathlib import Path

import pytest
import yaml
from installation import Installation, ServedModels
from test_graph_on_the_real_model import demo_record
from vllm_server import QUICK_START, VllmServer

from resources.model_provider import RealModels

pytest.importorskip("vllm", reason="the vLLM engine is not installed: make test-vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_features_are_explained_and_scored_through_vllm(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK_START.items():
        monkeypatch.setenv(name, value)
    options = {"dtype": "float32", "max_model_len": 2048, "engine_options": {"enforce_eager": True}}
    engine = {"backend": "vllm", "options": options, "require": ["answer_probabilities"]}
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


CONCURRENCY = 4
JUDGED_BEFORE_DEATH = 8


def test_a_server_killed_in_mid_run_stops_it_with_a_word_and_a_rerun_asks_the_rest(installation: Installation, tmp_path: Path) -> None:
    server = VllmServer()
    options = {"base_url": server.base_url, "concurrency": CONCURRENCY, "max_retries": 1, "backoff_seconds": 0.1}
    model = {"backend": "openai", "model": server.NAME, "revision": "1", "options": options}
    installation.home.root.mkdir(parents=True, exist_ok=True)
    installation.home.settings_file.write_text(yaml.safe_dump({"explainer": model, "scorer": model}))
    installation.models = ServedModels()
    record = installation.record(features=tuple(range(0, 64, 4)))
    installation.register(record)
    answered_at_death: list[int] = []
    try:
        server.start()
        installation.run("token_sample", "activation_shards")
        installation.run("examples", "explanations/max_act", "explanations/shuffled")
        shutil.copytree(installation.home.root, tmp_path / "undisturbed")
        before = server.answered()

        def kill_in_mid_run() -> None:
            while (answered := server.answered() - before) < JUDGED_BEFORE_DEATH:
                time.sleep(0.02)
            answered_at_death.append(answered)
            server.kill()

        killer = threading.Thread(target=kill_in_mid_run)
        killer.start()
        failed = installation.run("scores/detection", raise_on_error=False)
        killer.join()
        assert not failed.success
        (event,) = failed.get_step_failure_events()
        assert f"the server at {server.base_url} is gone" in str(event.step_failure_data.error)

        server.start()
        installation.run("scores/detection")
        asked_again = server.answered()
        undisturbed = Installation(tmp_path / "undisturbed", installation.corpus)
        undisturbed.models = ServedModels()
        undisturbed.register(record)
        undisturbed.run("scores/detection")
        asked_in_all = server.answered() - asked_again
    finally:
        server.kill()
    assert asked_in_all > 2 * JUDGED_BEFORE_DEATH
    # What was under way at the death was answered, at most, but not heard.
    assert 0 < asked_again <= asked_in_all - answered_at_death[0] + CONCURRENCY
    found, expected = verdicts(installation), verdicts(undisturbed)
    assert [row[:-1] for row in found] == [row[:-1] for row in expected] and len(found) > 5 * JUDGED_BEFORE_DEATH
    assert [row[-1] for row in found] == pytest.approx([row[-1] for row in expected], abs=1e-3)  # batches differ, and sums with them


def verdicts(installation: Installation) -> list[tuple]:
    """Every judged window, with its probability last."""
    installation.home.warehouse.build()
    with installation.home.warehouse.open() as connection:
        return connection.execute("SELECT trial, item, example_id, truth, outcome, probability FROM verdicts ORDER BY ALL").fetchall()
