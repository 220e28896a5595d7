"""Vocabulary projections leave a soft cap of logits aside, in every numeric type; what runs the model has its capped logits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_families import random_model, text_config

from resources.subject.model import SubjectModel
from resources.subject.output_path import output_path, soft_cap_of_logits
from resources.weights import ModelFolder

TOKENS = np.arange(3, 15, dtype=np.int32)[None]


def subject_of(family: str, cap_name: str, cap: float, dtype: torch.dtype, tmp_path: Path) -> SubjectModel:
    model = random_model(text_config(family, {cap_name: cap})).to(dtype).eval()
    return SubjectModel(model, None, ModelFolder(family, None, None, ""))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cap", [0.5, 30.0, 1e6])
@pytest.mark.parametrize("family, name", [("nanochat", "final_logit_softcapping"), ("recurrent_gemma", "logits_soft_cap")])
def test_the_cap_is_no_part_of_the_way_to_the_logits(family: str, name: str, cap: float, dtype: torch.dtype, tmp_path: Path) -> None:
    subject = subject_of(family, name, cap, dtype, tmp_path)
    assert soft_cap_of_logits(subject.model.config) == cap
    found = output_path(subject.model, subject.block_paths[-1])
    assert found is not None and found.after == 1.0 and found.capped
    unembedding: Any = subject.unembedding()
    last = subject.block_paths[-1]
    with torch.inference_mode():
        own = subject.model(input_ids=torch.tensor(TOKENS).long(), use_cache=False).logits[0].float()
    logits = unembedding.logits(subject.hook_values(TOKENS, [last])[last].flatten(0, 1))
    torch.testing.assert_close(cap * torch.tanh(logits / cap), own, atol=1e-4 if dtype == torch.float32 else 0.1, rtol=0.02)
    assert logits.abs().max() > own.abs().max() or cap > 1
    best, capped_best = logits.argmax(-1), own.argmax(-1)
    assert dtype != torch.float32 or cap < 1 or torch.equal(best, capped_best)
