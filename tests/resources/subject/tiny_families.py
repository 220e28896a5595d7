"""A tiny random model of every text family of transformers, in which every mechanism bites.

`SIZES` are given to each configuration that knows them: windows of 5 tokens where texts have 12, soft caps of 0.5, four experts of which
two answer, weights so large that an error shows. `OWN` holds the entries that a family spells in its own way.
"""

from typing import Any

import torch
import transformers

BLOCKS, WIDTH, VOCABULARY, CONTEXT = 4, 32, 120, 64
SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers"), BLOCKS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), CONTEXT),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim"), 48),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size", "expert_ffn_hidden_size"), 24),
    **dict.fromkeys(("sliding_window", "window_size", "attention_window_size", "sliding_window_size"), 5),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4},
    **{"vocab_size": VOCABULARY, "num_key_value_heads": 2, "head_dim": 8, "num_experts_per_tok": 2, "rotary_dim": 4},
    **{"attn_logit_softcapping": 0.5, "final_logit_softcapping": 2.0, "initializer_range": 0.2, "attention_chunk_size": 4},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "use_cache": True},
}
LATENT = {  # multi-head latent attention, with groups of experts
    "q_lora_rank": 12, "kv_lora_rank": 12, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "qk_head_dim": 16, "n_group": 2,
    "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1, "num_key_value_heads": 4, "head_dim": 8,
}  # fmt: skip
INDEXED = LATENT | {"index_n_heads": 2, "index_head_dim": 16, "index_topk": 4}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 4, "mamba_expand": 2}
OWN: dict[str, dict[str, Any]] = {
    "axk1": LATENT,
    "axk2": INDEXED,
    "bamba": MAMBA | {"attn_layer_indices": [1, 3]},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8},
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "deepseek_v32": INDEXED,
    "deepseek_v4": {"q_lora_rank": 12, "o_lora_rank": 12, "index_head_dim": 16, "index_topk": 4, "index_n_heads": 2},
    "dots1": {"n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1},
    "falcon": {"new_decoder_architecture": False, "multi_query": True, "parallel_attn": True},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 4},
    "gemma2": {"query_pre_attn_scalar": 8},
    "gemma3_text": {"query_pre_attn_scalar": 8},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"], "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY, "laurel_rank": 4, "intermediate_size": [48] * BLOCKS,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
    },
    "gemma4_text": {
        "global_head_dim": 16, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY, "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    },
    "gemma4_unified_text": {"global_head_dim": 16},
    "glm4_moe": {"n_group": 1, "topk_group": 1},
    "glm4_moe_lite": LATENT,
    "glm_moe_dsa": INDEXED,
    "gpt_neo": {"num_layers": BLOCKS, "num_heads": 4, "attention_types": [[["global", "local"], 2]]},
    "granite": {"residual_multiplier": 0.3, "embedding_multiplier": 3.0, "logits_scaling": 4.0, "attention_multiplier": 0.2},
    "granitemoe": {"residual_multiplier": 0.3, "embedding_multiplier": 3.0, "logits_scaling": 4.0, "attention_multiplier": 0.2},
    "granitemoehybrid": MAMBA | {"layer_types": ["mamba", "attention", "mamba", "attention"], "residual_multiplier": 0.3},
    "granitemoeshared": {"residual_multiplier": 0.3, "logits_scaling": 4.0},
    "hy_v4": INDEXED,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "mamba_d_state": 8, "mamba_dt_rank": 4},
    "kimi_linear": LATENT | {"linear_head_dim": 8, "linear_num_heads": 4},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"], "block_ff_dim": 48},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"], "num_dense_layers": 1},
    "llama4_text": {
        "intermediate_size_mlp": 48, "no_rope_layers": [1, 1, 1, 0], "interleave_moe_layer_step": 2,
        "attn_temperature_tuning": True, "floor_scale": 4,
    },
    "longcat_flash": LATENT | {"num_layers": 3, "ffn_hidden_size": 48, "zero_expert_num": 2, "moe_topk": 2},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 4},
    "minicpm3": {**LATENT, "scale_emb": 3.0, "scale_depth": 1.4, "dim_model_base": 16},
    "minimax": {"block_size": 4},
    "modernbert-decoder": {"local_attention": 10, "global_attn_every_n_layers": 2},
    "nemotron_h": {
        "layers_block_type": ["mamba", "attention", "moe", "mamba"], "mamba_num_heads": 8, "mamba_head_dim": 8,
        "ssm_state_size": 8, "n_groups": 1, "chunk_size": 4, "n_group": 1, "topk_group": 1, "moe_shared_expert_intermediate_size": 24,
    },
    "recurrent_gemma": {"lru_width": WIDTH, "conv1d_width": 4},
    "rwkv": {"attention_hidden_size": WIDTH},
    "stablelm": {"use_qkv_bias": True},
    "youtu": LATENT,
    "zamba": {
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "mamba_d_state": 8, "mamba_dt_rank": 4, "n_mamba_heads": 2,
        "attention_hidden_size": 64, "attention_head_dim": 16,
    },
    "zamba2": {
        "layer_types": ["mamba", "hybrid", "mamba", "hybrid"], "hybrid_layer_ids": [1, 3], "mamba_d_state": 8, "n_mamba_heads": 8,
        "mamba_headdim": 8, "mamba_ngroups": 1, "chunk_size": 4, "adapter_rank": 4, "attention_hidden_size": 64, "attention_head_dim": 16,
        "num_mem_blocks": 1,
    },
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip
LEFT_OUT = {
    "aria": "its text model is aria_text",
    "blt": "reads bytes, through a second model of patches",
    "cohere_compass_text": "not built tiny here",
    "cpmant": "reads a prompt of its own before each text",
    "emu3": "its text model is not built tiny here",
    "gemma3n": "needs the package timm; its text model is gemma3n_text",
    "gemma4_assistant": "a draft model, which reads another model's states",
    "gemma4_unified": "its text model is gemma4_unified_text",
    "gemma4_unified_assistant": "a draft model, which reads another model's states",
    "git": "reads images, with captions",
    "moshi": "speech",
    "musicgen": "music",
    "musicgen_melody": "music",
    "phi4_multimodal": "speech and images, not built tiny here",
    "qwen4_exp": "its text model is not built tiny here",
    "qwen4_exp_text": "not built tiny here",
    "trocr": "the decoder of an image model",
}
"""Causal families of transformers that the suite leaves out, and why. Encoders and encoder-decoders are refused, and left out too."""

VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 8,
    "depth": 2, "embed_dim": 16, "num_heads": 2, "out_hidden_size": WIDTH, "num_channels": 3, "vision_output_dim": 16,
    "projector_input_dim": 16, "projector_output_dim": 16,
}  # fmt: skip
SECTIONS = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
WRAPPERS: dict[str, tuple[str, dict[str, Any]]] = {
    "aya_vision": ("cohere2", {}),
    "gemma3": ("gemma3_text", {}),
    "gemma4": ("gemma4_text", {}),
    "glm4v": ("glm4v_text", SECTIONS),
    "got_ocr2": ("qwen2", {}),
    "idefics3": ("llama", {}),
    "internvl": ("qwen2", {}),
    "lfm2_vl": ("lfm2", OWN["lfm2"]),
    "llama4": ("llama4_text", OWN["llama4_text"]),
    "llava": ("llama", {}),
    "llava_next": ("mistral", {}),
    "mistral3": ("mistral", {}),
    "mllama": ("mllama_text_model", {}),
    "paligemma": ("gemma", {}),
    "qwen2_5_vl": ("qwen2_5_vl_text", SECTIONS),
    "qwen2_vl": ("qwen2_vl_text", SECTIONS),
    "qwen3_5": ("qwen3_5_text", {}),
    "qwen3_5_moe": ("qwen3_5_moe_text", {}),
    "qwen3_vl": ("qwen3_vl_text", {}),
    "qwen3_vl_moe": ("qwen3_vl_moe_text", {}),
    "smolvlm": ("llama", {}),
    "vipllava": ("llama", {}),
}
"""Multimodal family -> the family of its text model, and that model's own entries."""


def text_families() -> list[str]:
    """All text families of the installed transformers that only go on from a text, but for `LEFT_OUT`."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    both_ways = {*MASKED, "bert-generation", "xlnet"}
    known = [name for name in sorted(CAUSAL) if name not in LEFT_OUT and name not in WRAPPERS and name not in both_ways]
    return [name for name in known if not transformers.CONFIG_MAPPING[name]().is_encoder_decoder]


def wrapper_config(name: str) -> Any:
    """The tiny configuration of a multimodal family."""
    cls = transformers.CONFIG_MAPPING[name]
    default, (text, own) = cls().to_dict(), WRAPPERS[name]
    marks = [key for key, value in default.items() if key.endswith(("token_id", "token_index")) and isinstance(value, int) and value > 99]
    entries: dict[str, Any] = {key: 100 + place for place, key in enumerate(marks)}
    entries["text_config"] = text_config(text, own or OWN.get(text, {})).to_dict()
    vision = default.get("vision_config")
    if vision:
        entries["vision_config"] = {key: value for key, value in VISION.items() if key in vision} | {"model_type": vision["model_type"]}
    return cls(**entries)


def text_config(name: str, own: dict[str, Any] | None = None) -> Any:
    """The tiny configuration of a text family; `own` in place of its entry in `OWN`."""
    cls = transformers.CONFIG_MAPPING[name]
    known = cls().to_dict().keys() | cls.attribute_map.keys()
    own = OWN.get(name, {}) if own is None else own
    sizes = {key: value for key, value in SIZES.items() if key in known and cls.attribute_map.get(key) not in (*own, *SIZES)}
    return cls(**sizes | own)


def random_model(config: Any, cls: Any = transformers.AutoModelForCausalLM) -> Any:
    """The model of a configuration, by its authors' eager code, with all weights random: gains, biases and sinks too."""
    torch.manual_seed(0)
    model = cls.from_config(config, attn_implementation="eager").eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        if weight.ndim == 1 and not name.endswith(("A_log", "dt_bias")):
            weight.add_(torch.randn_like(weight) * 0.1)
    return model
