"""Plain Python as a dictionary: functions, objects and classes in modules and files, dense and sparse answers."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from resources.dictionaries import DictionaryError, load_dictionary, refuse_bad_dictionary

CODE = '''
import torch
from resources.dictionaries import Encoded

def dense(x):
    return x[:, :3] - 1.0

def sparse(x):
    """Feature 2 on every second token, out of order; feature 0 with a value that is not positive."""
    tokens = torch.arange(0, len(x), 2).flip(0)
    return Encoded(
        torch.cat([tokens, tokens]),
        torch.cat([torch.full_like(tokens, 2), torch.zeros_like(tokens)]),
        torch.cat([tokens + 1.0, -tokens - 1.0]),
    )

def too_narrow(x):
    return x[:, :2]

def out_of_range(x):
    return Encoded(torch.tensor([0]), torch.tensor([3]), torch.tensor([1.0]))

class Identity:
    """Positive and negative parts of two dimensions, a perfect reconstruction."""
    l0_expected = 2.0
    revision = "identity-1"

    def encode(self, x):
        return torch.cat([x, -x], dim=1)

    def reconstruct(self, x, encoded):
        rows = torch.stack([self.decoder_row(i) for i in range(4)])
        return torch.zeros(len(x), 4).index_put_((encoded.token, encoded.feature), encoded.value) @ rows

    def decoder_row(self, feature):
        return torch.cat([torch.eye(2), -torch.eye(2)])[feature]

number = 3
'''


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads a name from a file, or from the same code as a module."""
    (tmp_path / "my_probes.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_probes", raising=False)

    def load(name: str, width: int = 3, d_in: int = 5, place: str = str(tmp_path / "my_probes.py")) -> Any:
        return load_dictionary("callable", f"{place}:{name}", "blocks.0.hook_resid_post", width=width, d_in=d_in)

    return load


@pytest.mark.parametrize("as_module", [False, True])
def test_a_function_may_answer_densely(load: Any, as_module: bool, agrees: Any) -> None:
    ours = load("dense", **({"place": "my_probes"} if as_module else {}))
    x = torch.randn(20, 5) * 2
    agrees(ours, x, x[:, :3] - 1.0, None)
    assert refuse_bad_dictionary(ours, x).fvu is None and len(ours.revision) == 16
    with pytest.raises(DictionaryError, match=r"no decoder_row\(feature\)"):
        ours.decoder_row(0)


def test_a_function_may_answer_sparsely_in_any_order(load: Any, agrees: Any) -> None:
    expected = torch.zeros(5, 3)
    expected[[0, 2, 4], 2] = torch.tensor([1.0, 3.0, 5.0])
    agrees(load("sparse"), torch.randn(5, 5), expected, None)


def test_an_object_may_reconstruct_and_is_checked(load: Any, agrees: Any) -> None:
    ours = load("Identity", width=4, d_in=2)
    x = torch.randn(30, 2)
    agrees(ours, x, torch.cat([x, -x], dim=1), x)
    check = refuse_bad_dictionary(ours, x)
    assert (check.l0, ours.revision) == (2.0, "identity-1") and check.fvu is not None and check.fvu < 1e-9


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("too_narrow", r"returned \(6, 2\); allowed: Tensor\[6, 3\]"),
        ("out_of_range", "returned feature 3 to 3; allowed: 0 to 2"),
    ],
)
def test_answers_of_the_wrong_shape_are_refused(load: Any, name: str, message: str) -> None:
    with pytest.raises(DictionaryError, match=message):
        load(name).encode(torch.randn(6, 5))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no_colon", "not of the form"),
        ("no_such_package.probes:f", "cannot be imported: ModuleNotFoundError"),
        ("/no/such/file.py:f", "cannot be imported: FileNotFoundError"),
        ("my_probes:missing", r"my_probes has no 'missing'; it holds \["),
        ("my_probes:number", "is int: neither a function"),
    ],
)
def test_sources_that_do_not_lead_to_code_are_refused(load: Any, source: str, message: str) -> None:
    with pytest.raises(DictionaryError, match=message):
        load_dictionary("callable", source, "h", width=3, d_in=5)


def test_the_revision_follows_the_file(load: Any, tmp_path: Path) -> None:
    before = load("dense").revision
    (tmp_path / "my_probes.py").write_text(CODE.replace("- 1.0", "- 2.0"))
    assert load("dense").revision != before
