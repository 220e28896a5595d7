"""Ways to run prompts through a model of `transformers`.

A reply must not depend on the prompts that run beside it. Attention layers keep keys and values of single tokens. These can be moved and
masked, so their rows run in one batch. Recurrent layers keep one state a row, and padding would change this state. Some models keep their
state where no cache of `transformers` reaches it. So `trying.py` finds the way: a few short sequences run each way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any


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
