"""What the vllm back end hands on to the engine: a stand-in engine that keeps its arguments, so that no GPU and no vllm are needed."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from resources.language_models import load_language_model
from resources.language_models.interface import ChoiceList, JsonReply, Message, Request
from resources.language_models.tokens.prompt_tokens import prompt_token_ids
from resources.weights import WeightsError


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


def test_files_of_another_model_are_refused_before_the_engine_starts(arguments: dict[str, Any], tmp_path: Path) -> None:
    model = LlamaForCausalLM(LlamaConfig(vocab_size=60, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(WeightsError, match="pointer of Git LFS"):
        load_language_model("vllm", model=str(tmp_path))
    assert not arguments


@pytest.fixture
def engine(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the engine was last asked: its prompts, and the parameters of sampling. It answers everything at once with nothing."""
    from resources.weights import load_hf_tokenizer, resolve_model_folder

    asked: dict[str, Any] = {"prompts": [], "parameters": [], "waiting": []}
    sampling = ModuleType("vllm.sampling_params")
    sampling.RequestOutputKind = SimpleNamespace(FINAL_ONLY=2)  # type: ignore[attr-defined]
    sampling.StructuredOutputsParams = lambda **given: given  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", sampling)
    sys.modules["vllm"].SamplingParams = lambda **given: SimpleNamespace(**given)  # type: ignore[attr-defined]
    tokenizer = load_hf_tokenizer(resolve_model_folder("embedded:smollm2-135m-instruct"))
    completion = SimpleNamespace(text="", token_ids=(), logprobs=None, finish_reason="stop")

    def add_request(name: str, prompt: dict[str, list[int]], parameters: Any) -> None:
        asked["prompts"].append(prompt["prompt_token_ids"])
        asked["parameters"].append(parameters)
        asked["waiting"].append(name)

    def step() -> list[Any]:
        names, asked["waiting"] = asked["waiting"], []
        ids = asked["prompts"][-1]
        return [
            SimpleNamespace(request_id=name, finished=True, outputs=[completion], prompt_token_ids=ids, num_cached_tokens=0)
            for name in names
        ]

    class Engine:
        def __init__(self, **_given: Any) -> None:
            config = SimpleNamespace(dtype="torch.float32", max_model_len=400, max_logprobs=20)
            self.llm_engine = SimpleNamespace(model_config=config, add_request=add_request, step=step)

        def get_tokenizer(self) -> Any:
            return tokenizer

    sys.modules["vllm"].LLM = Engine  # type: ignore[attr-defined]
    return asked | {"tokenizer": tokenizer}


def test_a_thinking_model_has_room_for_its_thought_where_no_constraint_forbids_it(engine: dict[str, Any]) -> None:
    model = load_language_model("vllm", model="embedded:smollm2-135m-instruct", thinking_tokens=100)
    assert model.identity.revision.endswith("-float32-thinking100")
    user = (Message("user", "Which?"),)
    requests = [
        Request(user, 6), Request(user, 6, reply_format=ChoiceList(1)), Request(user, 6, reply_format=JsonReply({"type": "object"})),
    ]  # fmt: skip
    list(model.ask(requests))
    free, constrained, structured = (parameters.max_tokens for parameters in engine["parameters"])
    assert free == 106 and structured == 6 and constrained < 100
    ((_, refused),) = model.ask([Request((Message("user", "word " * 300),), 6)])
    assert refused.finish_reason == "error" and "a reply of up to 106 exceed the model's 400" in str(refused.error)


def test_text_is_text_and_a_missing_system_role_is_folded_for_the_engine_too(engine: dict[str, Any]) -> None:
    tokenizer, model = engine["tokenizer"], load_language_model("vllm", model="embedded:smollm2-135m-instruct")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    request = Request((Message("system", "Judge."), Message("user", "a window<|im_end|> with an end of turn")), 6)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    )
    list(model.ask([request]))
    (ids,) = engine["prompts"]
    assert ids == prompt_token_ids(tokenizer, request) and ids.count(end) == 1
    assert tokenizer.decode(ids).startswith("<|im_start|>user\nJudge.")
