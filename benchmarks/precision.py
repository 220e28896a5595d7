"""What TF32 takes from activations, beside what bfloat16 has taken before it.

    python benchmarks/precision.py [--quick]

A GPU encodes what a model has computed in bfloat16 with products in TF32 (`resources.subject.model.tensor_cores_for`). Here the demo's
SAE, its latents with a threshold in place of the k largest, and a random TopK SAE of 16,384 latents encode the same values in float32
and in TF32; the floor is the model itself, in bfloat16 against float32. Two ways differ in the activations that one of them has alone,
and in the values of those that both have. On a GPU the card multiplies; on a CPU the low 13 bits of both factors are cut off before, the
worst that a card does. The last line is one JSON object.
"""

import argparse
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from harvest import RECORD, token_rows
from torch.overrides import TorchFunctionMode

from interp_assets.config.registry import DictionaryRegistry
from resources.dictionaries import Dictionary
from resources.dictionaries.encoding import Threshold
from resources.model_provider import RealModels
from resources.subject.model import tensor_cores_for

LOW_BITS = (1 << 13) - 1
BATCH_ROWS = 8


class TensorFloats(TorchFunctionMode):
    """Products of float32 matrices whose factors have lost the bits that TF32 has not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.mm, torch.addmm):
            args = (*args[:-2], *((factor.contiguous().view(torch.int32) & ~LOW_BITS).view(torch.float32) for factor in args[-2:]))
        return func(*args, **(kwargs or {}))


def hook_values(source: str, hook: str, rows: np.ndarray, dtype: str) -> torch.Tensor:
    """Tensor[tokens, d] at the hook, the first token of every row left out."""
    subject = RealModels().subject(source, None, dtype)
    parts = [subject.hook_values(rows[first : first + BATCH_ROWS], [hook])[hook] for first in range(0, len(rows), BATCH_ROWS)]
    subject.close()
    return torch.cat(parts)[:, 1:].flatten(0, 1)


def activations(dictionary: Dictionary, x: torch.Tensor) -> dict[tuple[int, int], float]:
    """(token, feature): value."""
    found = dictionary.encode(x)
    return dict(zip(zip(found.token.tolist(), found.feature.tolist(), strict=True), found.value.tolist(), strict=True))


def differences(before: Mapping[tuple[int, int], float], after: Mapping[tuple[int, int], float]) -> dict[str, float]:
    """Share of activations that one of two ways has alone, and median and 99th percentile of the relative difference of the others."""
    shared = before.keys() & after.keys()
    relative = [abs(before[place] - after[place]) / before[place] for place in shared]
    median, high = np.quantile(relative, [0.5, 0.99])
    return {"in_one_alone": 1 - len(shared) / len(before.keys() | after.keys()), "median": float(median), "p99": float(high)}


def main() -> None:
    """Compare the dictionaries in turn and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4,096 tokens instead of 32,768: half a minute")
    given = parser.parse_args()
    record, models = DictionaryRegistry.parse(RECORD.read_text(), str(RECORD)), RealModels()
    rows = token_rows(models.tokenizer(record.model.source, None), 16 if given.quick else 128)
    exact, half = (hook_values(record.model.source, record.hook, rows, dtype) for dtype in ("float32", "bfloat16"))
    sae: Any = models.dictionary(kind=record.kind, **record.loader_fields, device=str(half.device))
    options = {"kind": "random_topk", "hook": record.hook, "width": 16_384, "d_in": half.shape[1], "k": 32}
    dictionaries = {
        "demo": sae,
        "demo_threshold": replace(sae, activation=Threshold(1.0)),
        "random_16384": models.dictionary(**options, device=str(half.device)),
    }
    figures: dict[str, Any] = {"device": str(half.device), "tokens": rows.size}
    for name, dictionary in dictionaries.items():
        in_tf32: AbstractContextManager[Any] = tensor_cores_for(half) if half.device.type == "cuda" else TensorFloats()
        in_float32 = activations(dictionary, half)
        with in_tf32:
            tf32 = differences(in_float32, activations(dictionary, half))
        bfloat16 = differences(activations(dictionary, exact), in_float32)
        for measure in tf32:
            figures |= {f"{name}_tf32_{measure}": tf32[measure], f"{name}_bfloat16_{measure}": bfloat16[measure]}
            figures[f"{name}_tf32_over_bfloat16_{measure}"] = tf32[measure] / bfloat16[measure]
    for name, value in figures.items():
        print(f"{name:>48}  {value if isinstance(value, str | int) else f'{value:.5f}'}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
