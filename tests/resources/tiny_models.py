"""Tiny random models of every family in the table of hook points, and TransformerLens's view of one."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from resources.fakes import FakeTokenizer
from resources.subject.model import SubjectModel
from resources.weights import ModelFolder

SIZE = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32}
GATED = {**SIZE, "intermediate_size": 40, "num_key_value_heads": 2, "head_dim": 6, "pad_token_id": 0}
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 50, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32, "n_inner": 40},
    "gpt_neox": {**SIZE, "intermediate_size": 40},
    "gpt_neox_sequential": {**SIZE, "intermediate_size": 40, "use_parallel_residual": False},
    **{name: GATED for name in ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "gemma3_text", "phi3")},
}
TOKENS = np.random.default_rng(0).integers(3, 50, size=(2, 7))


def tiny_model(name: str) -> Any:
    """A model of the family with two blocks and random weights, gains and biases included."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(name.removesuffix("_sequential"), **MODELS[name], bos_token_id=1, eos_token_id=2)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().requires_grad_(False)
    for weight in model.parameters():
        weight.copy_(torch.randn_like(weight) * 0.3)
    return model


def subject_of(model: Any) -> SubjectModel:
    return SubjectModel(model, FakeTokenizer(), ModelFolder("tiny", None, "tiny", "1"))  # type: ignore[arg-type]


def transformer_lens_bridge(model: Any) -> Any:
    """TransformerLens around a copy of the model."""
    builder = pytest.importorskip("transformer_lens.model_bridge.sources._bridge_builder")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = copy.deepcopy(model)
        return builder.build_bridge_from_module(model, type(model).__name__, hf_config=model.config)
