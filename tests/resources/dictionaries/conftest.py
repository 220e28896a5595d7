"""What the tests of all formats share: dense views of sparse answers."""

from typing import Any

import pytest
import torch

from resources.dictionaries import Dictionary, Encoded


def dense(encoded: Encoded, tokens: int, width: int) -> torch.Tensor:
    """Tensor[tokens, width] of the activations, after checking that they are positive, sorted by token and named once each."""
    assert (encoded.value > 0).all() and (encoded.token.diff() >= 0).all()
    assert (encoded.token.dtype, encoded.feature.dtype, encoded.value.dtype) == (torch.int64, torch.int64, torch.float32)
    places = encoded.token * width + encoded.feature
    assert len(places.unique()) == len(places)
    return torch.zeros(tokens, width).index_put_((encoded.token, encoded.feature), encoded.value)


@pytest.fixture(name="dense")
def _dense() -> Any:
    return dense


@pytest.fixture
def agrees() -> Any:
    """Asserts that a dictionary encodes x to `encoded`, and reconstructs `decoded`."""

    def check(dictionary: Dictionary, x: torch.Tensor, encoded: torch.Tensor, decoded: torch.Tensor | None) -> None:
        ours = dictionary.encode(x)
        torch.testing.assert_close(dense(ours, len(x), dictionary.width), encoded.relu(), atol=1e-5, rtol=1e-5)
        found = dictionary.reconstruct(x, ours)
        assert (found is None) == (decoded is None)
        if decoded is not None:
            torch.testing.assert_close(found, decoded, atol=1e-4, rtol=1e-4)

    return check
