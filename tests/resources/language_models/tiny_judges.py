"""Tiny random models of many families, whose windows, chunks, caps and states all bite within a few tokens, saved as users have them."""

import inspect
from pathlib import Path
from typing import Any

import torch
import transformers

WINDOW = 8
CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n"]
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>")
COMMON: dict[str, Any] = {
    "vocab_size": len(CHARACTERS) + len(SPECIAL_TOKENS), "max_position_embeddings": 512, "n_positions": 512, "max_seq_len": 512,
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "word_embed_proj_dim": 32, "intermediate_size": 48, "ffn_dim": 48, "n_inner": 48,
    "num_hidden_layers": 4, "n_layer": 4, "n_layers": 4, "num_layers": 4, "num_attention_heads": 4, "n_head": 4,
    "n_heads": 4, "num_heads": 4,    "num_key_value_heads": 2, "head_dim": 8,
    "sliding_window": WINDOW, "use_sliding_window": True, "max_window_layers": 1,
    "attention_window_size": WINDOW, "window_size": WINDOW, "attn_logit_softcapping": 0.5, "final_logit_softcapping": 3.0,
    "query_pre_attn_scalar": 8, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16, "attention_chunk_size": WINDOW, "chunk_size": 16, "mamba_chunk_size": 16,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
WINDOWED = {"layer_types": ["sliding_attention", "full_attention"] * 2}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"] * 2, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "shared_expert_intermediate_size": 16,
}  # fmt: skip
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "first_k_dense_replace": 1,
    "n_group": 1, "topk_group": 1, "num_key_value_heads": 4, "n_shared_experts": 1,
}  # fmt: skip
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 2}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [3.0, 4.0, 5.0, 6.0]}
BATCHED: dict[str, dict[str, Any]] = {
    "llama": {}, "mistral": {}, "mixtral": {}, "gemma2": {}, "gemma3_text": WINDOWED, "qwen2": WINDOWED, "qwen3": WINDOWED, "qwen3_moe": {},
    "gpt_oss": WINDOWED, "gpt2": {}, "gpt_neo": {"attention_types": [[["global", "local"], 2]]}, "gpt_neox": {}, "bloom": {},
    "falcon": {"alibi": True, "new_decoder_architecture": False, "multi_query": False}, "mpt": {"attn_config": {"alibi": True}}, "opt": {},
    "phi": {}, "phi3": {}, "olmo2": {}, "olmo3": WINDOWED, "cohere2": WINDOWED, "exaone4": WINDOWED, "granite": {"logits_scaling": 3.0},
    "gemma3n_text": {
        **WINDOWED, "intermediate_size": [48] * 4, "laurel_rank": 4, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 2,
        "vocab_size_per_layer_input": COMMON["vocab_size"], "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
    },
    "gemma4_text": {
        **WINDOWED, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": COMMON["vocab_size"], "global_head_dim": 16,
        "num_kv_shared_layers": 0,
    },
    "deepseek_v3": LATENT,
    "llama4_text": {
        "intermediate_size_mlp": 48, "no_rope_layers": [1, 1, 0, 1], "floor_scale": 500,
        "layer_types": ["chunked_attention", "chunked_attention", "full_attention", "chunked_attention"],
    },
}  # fmt: skip
ALONE: dict[str, dict[str, Any]] = {
    "mamba": {"state_size": 8, "num_heads": None},
    "mamba2": {"state_size": 8, "num_heads": 8, "n_groups": 2, "expand": 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 8,
              "mamba_dt_rank": 4, "use_mamba_kernels": False},
    "falcon_h1": {"mamba_d_ssm": 64, **MAMBA, "lm_head_multiplier": 2.0},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "qwen3_next": LINEAR,
    "qwen3_5_text": LINEAR,
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "lru_width": 32, "num_key_value_heads": 1},
    "rwkv": {"attention_hidden_size": 32, "context_length": 512},
    "minimax": {"layer_types": ["linear_attention", "full_attention"] * 2, "block_size": 8},
    "phi3-longrope": {"original_max_position_embeddings": 60,
                      "rope_parameters": {**LONGROPE, "original_max_position_embeddings": 60}},
    "llama-dynamic": {
        "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 60},
    },
    "llama4_text-temperature": {**BATCHED["llama4_text"], "floor_scale": 4, "attn_scale": 0.5},
}  # fmt: skip
"""Families of which batches would be wrong, or are for some lengths."""

FAMILIES = {**BATCHED, **ALONE}


def save_tiny_judge(folder: Path, family: str) -> Path:
    """A folder with the model and a tokenizer of one token a character, without a chat template."""
    torch.manual_seed(0)
    config_class = transformers.CONFIG_MAPPING[family.partition("-")[0]]
    names = set(inspect.signature(config_class.__init__).parameters) | set(config_class.attribute_map)
    names |= {name for parent in config_class.__mro__ for name in getattr(parent, "__annotations__", {})}
    fields = {name: value for name, value in {**COMMON, **FAMILIES[family]}.items() if name in names and value is not None}
    model = transformers.AutoModelForCausalLM.from_config(config_class(**fields), attn_implementation="eager").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.25)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_tokenizer() -> Any:
    """One token a character."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
