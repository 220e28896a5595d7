"""Ways to run prompts through a model of `transformers`, and the fastest way that gives the results of a plain forward pass.

A reply must not depend on the prompts that run beside it. Attention layers keep keys and values of single tokens. These can be moved and
masked, so their rows run in one batch. Recurrent layers keep one state a row, and padding would change this state. Some models keep their
state where no cache of `transformers` reaches it. So the way is found by trying: a few short sequences run each way, and the first way that
agrees with plain forward passes is taken.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

PREFIX_TOKENS, REST_TOKENS, APPENDED_TOKENS = 12, (7, 3, 1), (2, 1, 1)
FLOAT32_NOISE, HALF_NOISE, HALF_NOISE_ALONE = 1e-3, 0.15, 0.04  # a batch rounds differently from a row, and experts may change


@dataclass(frozen=True)
class Way:
    """How prompts run. `batched`: many rows at once, padded on the left; `shares_prefix`: the common beginning of requests is computed
    once; `cached`: a token is read once, and not again with every later token; `whole_pieces`: several tokens at once can follow earlier
    tokens."""

    name: str
    batched: bool
    shares_prefix: bool
    cached: bool
    whole_pieces: bool


BATCHED = Way("in batches", True, True, True, True)
ALONE = Way("one prompt at a time", False, True, True, True)
TOKEN_BY_TOKEN = Way("one prompt at a time, without shared prefixes", False, False, True, False)
UNCACHED = Way("one prompt at a time, read again for every token", False, False, False, True)
WAYS = (BATCHED, ALONE, TOKEN_BY_TOKEN, UNCACHED)


def empty_cache(model: Any, way: Way) -> Any:
    """A cache for `model`. For batches every attention layer keeps all its tokens, also tokens outside its window, so that rows can be
    moved.

    Raises `ValueError` where a layer's state does not consist of keys and values, so that its rows cannot run in batches.
    """
    from transformers import cache_utils

    cache = cache_utils.DynamicCache(config=model.config)
    if not way.batched:
        return cache
    kinds = {type(layer) for layer in cache.layers}
    if not kinds <= {cache_utils.DynamicLayer, cache_utils.DynamicSlidingWindowLayer}:
        raise ValueError(f"its cache has layers {sorted(kind.__name__ for kind in kinds)}")
    layers: list[Any] = [cache_utils.DynamicLayer() for _ in cache.layers]
    cache.layers = layers
    return cache


def refuse_state_elsewhere(cache: Any) -> None:
    """Raise `ValueError` where layers of the cache are empty after the model has read tokens: the model keeps their state in itself."""
    from transformers import cache_utils

    empty = [
        number
        for number, layer in enumerate(cache.layers)
        if isinstance(layer, cache_utils.DynamicLayer)
        and not (layer.is_initialized or isinstance(layer, cache_utils.LinearAttentionCacheLayerMixin))
    ]
    if empty or not cache.layers:
        raise ValueError(f"it keeps the state of layers {empty or 'all'} outside the cache")


def forward_arguments(model: Any) -> Callable[..., dict[str, Any]]:
    """A function that leaves out of the arguments of a forward pass the names that `model.forward` does not take."""
    parameters = signature(model.forward).parameters
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values())
    cache_name = "cache_params" if "cache_params" in parameters and "past_key_values" not in parameters else "past_key_values"

    def taken(past_key_values: Any = None, **arguments: Any) -> dict[str, Any]:
        kept = {name: value for name, value in arguments.items() if takes_any or name in parameters}
        return kept if past_key_values is None else {**kept, cache_name: past_key_values}

    return taken


def length_with_other_positions(config: Any) -> int | None:
    """The length from which a model's position embedding depends on the length of its input; None where it never does.

    With dynamic NTK scaling and LongRoPE the keys of a text change as the text grows beyond this length, so no cache can hold them.
    """
    config = config.get_text_config()
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    blocks = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    lengths = [
        block.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
        or config.max_position_embeddings
        for block in blocks
        if block.get("rope_type", block.get("type")) in ("dynamic", "longrope", "su")
    ]  # fmt: skip
    return min(lengths, default=None)


def longest_in_batches(config: Any) -> int | None:
    """The length from which a model's results depend on places instead of positions, so that padding would change them: Llama 4's attention
    temperature. None where there is no such length."""
    config = config.get_text_config()
    return int(config.floor_scale) if getattr(config, "attn_temperature_tuning", False) else None


def forget_longest(model: Any) -> None:
    """Make dynamic NTK scaling forget the longest text that the model has read: its frequencies would stay at that text's values
    otherwise."""
    for module in model.modules():
        if hasattr(module, "max_seq_len_cached") and hasattr(module, "original_max_seq_len"):
            for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
                setattr(module, name, module.original_max_seq_len)


def fastest_right_way(model: Any, pad_id: int) -> Way:
    """The first of WAYS with the results of plain forward passes. Any way but BATCHED is logged with its reason."""
    import torch

    with torch.inference_mode():
        sequences, wanted = _tried(model)
        for way in WAYS[:-1]:
            reason = _disagreement(model, way, pad_id, sequences, wanted)
            if reason is None:
                return way
            logging.getLogger(__name__).info("%s does not run %s: %s", type(model).__name__, way.name, reason)
    return UNCACHED


def _tried(model: Any) -> tuple[list[list[int]], list[Any]]:
    """Three sequences with a common beginning, and the logits [places, vocabulary] that plain forward passes give at their places."""
    import torch

    config = model.config.get_text_config()
    longest = getattr(config, "max_position_embeddings", None) or PREFIX_TOKENS + max(REST_TOKENS) + max(APPENDED_TOKENS)
    n_prefix = max(1, min(PREFIX_TOKENS, longest - max(REST_TOKENS) - max(APPENDED_TOKENS)))
    draws = torch.randint(
        config.vocab_size // 8, config.vocab_size, (len(REST_TOKENS) + 1, 32), generator=torch.Generator().manual_seed(0)
    ).tolist()
    sequences = [
        draws[0][:n_prefix] + own[: rest + after] for own, rest, after in zip(draws[1:], REST_TOKENS, APPENDED_TOKENS, strict=True)
    ]
    arguments = forward_arguments(model)
    wanted = []
    for sequence, after in zip(sequences, APPENDED_TOKENS, strict=True):
        logits = model(**arguments(input_ids=torch.tensor([sequence], device=model.device), use_cache=False)).logits[0]
        wanted.append(logits[[-1 - after, -1]].float())
    return sequences, wanted


def _disagreement(model: Any, way: Way, pad_id: int, sequences: list[list[int]], wanted: list[Any]) -> str | None:
    """How this way differs from plain forward passes; None where it does not, up to the noise of the model's numeric type."""
    import torch

    allowed = FLOAT32_NOISE if model.dtype == torch.float32 else HALF_NOISE if way.batched else HALF_NOISE_ALONE
    try:
        found = _logits_of(model, way, pad_id, sequences)
    except Exception as error:  # any exception of the model's own code for an unknown cache or mask
        return f"{type(error).__name__}: {error}"
    for ours, plain in zip(found, wanted, strict=True):
        difference = float((ours - plain).abs().mean() / plain.std().clamp(min=1e-9))
        if not difference <= allowed:  # NaN too
            return f"logits differ by {difference:.2g} of their standard deviation from a plain forward pass"
    return None


def _logits_of(model: Any, way: Way, pad_id: int, sequences: list[list[int]]) -> list[Any]:
    """The logits at the places of `_tried`, computed this way."""
    import torch

    from resources.language_models.transformers_local.decoder import Decoder, prefilled

    n_prefix = len(sequences[0]) - REST_TOKENS[0] - APPENDED_TOKENS[0] if way.shares_prefix else 0
    prefix = sequences[0][:n_prefix]
    cache = prefilled(model, prefix, way)
    ends = [len(sequence) - after for sequence, after in zip(sequences, APPENDED_TOKENS, strict=True)]
    groups = [range(len(sequences))] if way.batched else [[row] for row in range(len(sequences))]
    found = []
    for rows in groups:
        decoder = Decoder(model, [sequences[row][n_prefix : ends[row]] for row in rows], prefix, cache, pad_id, way)
        refuse_state_elsewhere(decoder.cache)
        first = decoder.logits
        decoder.logits_after(sequences[0][:2])  # which leaves no trace in rows that go on
        decoder.append([sequences[row][ends[row] :] for row in rows])
        found += [torch.stack([first[place], decoder.logits[place]]).float() for place in range(len(rows))]
    return found
