"""NaN and infinity are never taken for silence, nor for some large number: weights, self-check and harvest name them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from resources.dictionaries import DictionaryError, load_dictionary, refuse_bad_dictionary
from resources.dictionaries.encoding import Gate, GroupMax, Threshold, TopK, whole
from resources.fakes import FakeModels

D, WIDTH, HOOK = 32, 64, "blocks.1.hook_resid_post"


@pytest.mark.parametrize(
    "activation", [Threshold(), Threshold(torch.zeros(4)), TopK(2), GroupMax(2), Gate(torch.ones(4), torch.zeros(4))], ids=str
)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_no_activation_drops_what_is_not_finite(activation: Any, wrong: float) -> None:
    hidden = torch.tensor([[1.0, wrong, 2.0, -1.0], [0.5, -0.5, 0.25, -2.0]])
    encoded = activation.encode(whole(hidden))
    (place,) = torch.nonzero(~torch.isfinite(encoded.value)).flatten().tolist()
    assert (int(encoded.token[place]), int(encoded.feature[place])) == (0, 1)


def folder_with(path: Path, name: str, value: float) -> Path:
    generator = torch.Generator().manual_seed(0)
    weights = {
        "W_enc": torch.randn(D, WIDTH, generator=generator),
        "b_enc": torch.zeros(WIDTH),
        "W_dec": torch.randn(WIDTH, D, generator=generator),
        "b_dec": torch.zeros(D),
        "threshold": torch.full((WIDTH,), 0.1),
    }
    weights[name].view(-1)[3] = value
    path.mkdir(exist_ok=True)
    save_file(weights, path / "sae_weights.safetensors")
    config = {"architecture": "jumprelu", "d_in": D, "d_sae": WIDTH, "metadata": {"hook_name": HOOK}}
    (path / "cfg.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec", "threshold"])
def test_weights_with_nan_are_refused_at_loading(name: str, tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=rf"1 of [\d,]+ numbers in {name} that are NaN or infinite"):
        load_dictionary("sae_lens", source=str(folder_with(tmp_path / "sae", name, np.nan)))


def test_a_latent_that_an_infinite_threshold_silences_is_sound(tmp_path: Path) -> None:
    assert load_dictionary("sae_lens", source=str(folder_with(tmp_path / "sae", "threshold", np.inf))).width == WIDTH


def callable_of(folder: Path, body: str) -> Any:
    (folder / "probes.py").write_text(f"import torch\n\ndef probe(x):\n    found = torch.relu(x)\n    {body}\n    return found\n")
    return load_dictionary("callable", source=f"{folder}/probes.py:probe", hook=HOOK, width=D, d_in=D)


@pytest.mark.parametrize(
    ("body", "said"), [("found[1, 2] = float('nan')", "1 NaN and 0 infinite"), ("found[0] *= float('inf')", r"\d+ NaN and \d+ infinite")]
)
def test_a_dictionary_that_yields_what_is_not_finite_fails_its_self_check(body: str, said: str, tmp_path: Path) -> None:
    x = torch.randn(6, D, generator=torch.Generator().manual_seed(1))
    with pytest.raises(DictionaryError, match=f"{said} among .* activations of the dictionary callable at {HOOK}"):
        refuse_bad_dictionary(callable_of(tmp_path, body), x)


def test_hook_values_that_are_not_finite_name_the_dtype(tmp_path: Path) -> None:
    x = torch.randn(6, D, generator=torch.Generator().manual_seed(1))
    x[2, 3] = float("inf")
    with pytest.raises(DictionaryError, match=rf"0 NaN and 1 infinite among 192 the model's values at {HOOK}.*dtype"):
        refuse_bad_dictionary(callable_of(tmp_path, "pass"), x)


def test_activations_too_small_to_store_fail_the_self_check(tmp_path: Path) -> None:
    x = torch.randn(6, D, generator=torch.Generator().manual_seed(1))
    with pytest.raises(DictionaryError, match=r"largest activation .* is .*e-0\d.*Multiply"):
        refuse_bad_dictionary(callable_of(tmp_path, "found *= 1e-5"), x)


def test_a_harvest_names_the_token_on_which_a_dictionary_yields_nan(tmp_path: Path) -> None:
    subject = FakeModels().subject("", None, None)
    rows = np.random.default_rng(0).integers(3, 60, size=(3, 8))
    dictionary = callable_of(tmp_path, "found[(x > 0).all(1) | (torch.arange(len(x)) == 5), 7] = float('nan')")
    with pytest.raises(DictionaryError, match=r"dictionary d: feature 7 has activation nan on token \d+ \(context 0, position 5\)"):
        list(subject.sparse_activations(rows, {"d": dictionary}))
