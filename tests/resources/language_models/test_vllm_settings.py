"""What the vllm back end hands on to the engine: a stand-in engine that keeps its arguments, so that no GPU and no vllm are needed."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from resources.language_models import load_language_model


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of the engine that was made last."""
    kept: dict[str, Any] = {}

    class Engine:
        def __init__(self, **given: Any) -> None:
            kept.update(given)
            self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(dtype=f"torch.{given['dtype']}"))

        def get_tokenizer(self) -> None:
            return None

    stand_in = ModuleType("vllm")
    stand_in.LLM = Engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    return kept


def test_every_setting_reaches_the_engine(arguments: dict[str, Any]) -> None:
    model = load_language_model(
        "vllm", model="embedded:smollm2-135m-instruct", dtype="bfloat16", tensor_parallel_size=4, quantization="fp8", max_model_len=4096,
        gpu_memory_utilization=0.6, max_num_seqs=64, engine_options={"kv_cache_dtype": "fp8"},
    )  # fmt: skip
    expected = {
        "dtype": "bfloat16", "tensor_parallel_size": 4, "quantization": "fp8", "max_model_len": 4096, "gpu_memory_utilization": 0.6,
        "max_num_seqs": 64, "kv_cache_dtype": "fp8", "enable_prefix_caching": True,
    }  # fmt: skip
    assert {name: arguments[name] for name in expected} == expected
    assert model.identity.revision.endswith("-bfloat16-fp8")


def test_what_is_not_set_is_left_to_the_engine(arguments: dict[str, Any]) -> None:
    load_language_model("vllm", model="embedded:smollm2-135m-instruct", dtype="float32")
    assert arguments["quantization"] is None and arguments["max_model_len"] is None and "max_num_seqs" not in arguments
    assert (arguments["tensor_parallel_size"], arguments["gpu_memory_utilization"]) == (1, 0.9)


def test_an_option_that_the_back_end_has_not_is_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"options of the vllm back end: .*tensor_parallel.*Correct `options` in settings.yaml"):
        load_language_model("vllm", model="embedded:smollm2-135m-instruct", tensor_parallel=2)
    assert not arguments
