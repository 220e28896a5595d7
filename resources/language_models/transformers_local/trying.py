"""Finds the fastest way to run prompts through a model that gives the results of plain forward passes, by trying each way."""

import logging
from typing import Any

from resources.language_models.transformers_local.decoder import Decoder, prefilled
from resources.language_models.transformers_local.ways import UNCACHED, WAYS, Way, forward_arguments, refuse_state_elsewhere

PREFIX_TOKENS, REST_TOKENS, APPENDED_TOKENS = 12, (7, 3, 1), (2, 1, 1)
FLOAT32_NOISE, HALF_NOISE, HALF_NOISE_ALONE = 1e-3, 0.15, 0.04  # a batch rounds differently from a row, and experts may change


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
