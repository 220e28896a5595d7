"""The self-check through hooks of a small model: planted good dictionaries pass, every kind of misfit is refused with its numbers.

A planted dictionary of a hook has 64 features: the positive and negative parts of the values' 32 principal components. It reconstructs
them exactly, but for the four components that vary least, which it makes five times too large: little harm at its own hook, whose
values hardly go there, and much at any other.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from interp_assets.config.base import UserError
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import HarvestSettings
from interp_assets.measuring.harvest import checked_dictionary, dictionary_of
from interp_assets.reading.token_sample import TokenSample
from resources.dictionaries import DictionaryError, load_dictionary, refuse_bad_dictionary, self_check
from resources.fakes import FakeModels

HOOK, OTHER = "blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"
MLP_IN, MLP_OUT = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"
TOKENS = np.random.default_rng(0).integers(3, 60, size=(16, 32))
D = 32
REFUSED = r"fake/01/x: dictionary .* on \d+ probe tokens L0 = \d+\.\d \(.*\), FVU = \d+\.\d+ \(must be below 1\)"


@pytest.fixture(scope="module")
def subject() -> Any:
    return FakeModels().subject("", None, None)


def values(subject: Any, hook: str) -> torch.Tensor:
    return subject.hook_values(TOKENS, [hook])[hook].flatten(0, 1)


def checked(subject: Any, probed: dict[str, Any] | None = None, **record: Any) -> Any:
    """What the graph does before a harvest."""
    one = DictionaryRecord(**{"key": "fake/01/x", "hook": HOOK, "width": 2 * D, **record})
    sample = TokenSample("probe", TOKENS.astype(np.int32))
    return checked_dictionary(subject, sample, one, dictionary_of(one, FakeModels()), HarvestSettings(), probed)


def planted(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """W_enc, b_enc, W_dec, b_dec for an encoder that subtracts b_dec."""
    _, axes = torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)))
    gain = torch.tensor([5.0] * 4 + [1.0] * (D - 4))
    rows = axes.T * gain[:, None]
    encoder = torch.cat([axes, -axes], dim=1)
    return {"W_enc": encoder, "b_enc": torch.zeros(2 * D), "W_dec": torch.cat([rows, -rows]), "b_dec": x.mean(0)}


def write_sae_lens(folder: Path, weights: dict[str, torch.Tensor], l0: float, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"hook_name": HOOK, "l0": l0, **config.pop("metadata", {})}
    stated = {"architecture": "standard", "d_in": D, "d_sae": 2 * D, "metadata": metadata, **config}
    (folder / "cfg.json").write_text(json.dumps(stated))
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / "sae_weights.safetensors")
    return folder


def write_gemma_scope(folder: Path, weights: dict[str, torch.Tensor], l0: float) -> Path:
    folder = folder / f"average_l0_{l0:.0f}"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = weights | {"b_enc": -weights["b_dec"] @ weights["W_enc"], "threshold": torch.zeros(2 * D)}
    np.savez(folder / "params.npz", **{name: array.numpy() for name, array in arrays.items()})
    return folder


def write_sparsify(folder: Path, weights: dict[str, torch.Tensor], l0: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps({"d_in": D, "num_latents": 2 * D, "k": round(l0)}))
    named = {"encoder.weight": weights["W_enc"].T, "encoder.bias": weights["b_enc"], "W_dec": weights["W_dec"], "b_dec": weights["b_dec"]}
    save_file({name: weight.contiguous() for name, weight in named.items()}, folder / "sae.safetensors")
    return folder


def write_dictionary_learning(folder: Path, weights: dict[str, torch.Tensor], l0: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder", "target_l0": l0}}))
    linear = {"encoder.weight": weights["W_enc"].T, "encoder.bias": weights["b_enc"], "decoder.weight": weights["W_dec"].T}
    torch.save(linear | {"bias": weights["b_dec"]}, folder / "ae.pt")
    return folder


WRITERS: dict[str, Callable[[Path, dict[str, torch.Tensor], float], Path]] = {
    "sae_lens": write_sae_lens,
    "gemma_scope": write_gemma_scope,
    "sparsify": write_sparsify,
    "dictionary_learning": write_dictionary_learning,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_planted_dictionary_fits_its_hook_and_no_other(subject: Any, tmp_path: Path, kind: str) -> None:
    source = str(WRITERS[kind](tmp_path, planted(values(subject, HOOK)), D))
    found = checked(subject, kind=kind, source=source)
    assert found.fvu < 0.5 and found.l0 == pytest.approx(D, rel=0.01)
    with pytest.raises(UserError, match=REFUSED) as refusal:
        checked(subject, kind=kind, source=source, hook=OTHER)
    assert OTHER in str(refusal.value) and "FVU = 0" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["sae_lens", "gemma_scope", "dictionary_learning"])
@pytest.mark.parametrize("stated", [10, 90])
def test_an_l0_that_contradicts_the_metadata_is_refused(subject: Any, tmp_path: Path, kind: str, stated: float) -> None:
    source = str(WRITERS[kind](tmp_path, planted(values(subject, HOOK)), stated))
    with pytest.raises(UserError, match=rf"L0 = 32\.0 \(stated {stated}\.0, allowed within a factor of 2\), FVU = 0\.\d+"):
        checked(subject, kind=kind, source=source)


def test_a_wrong_norm_is_refused_with_the_numbers(subject: Any, tmp_path: Path) -> None:
    """Thresholds of one standard deviation keep about a third of the features; on values normalised to norm √32 they keep all."""
    x = values(subject, HOOK)
    weights = planted(x)
    weights["threshold"] = ((x - x.mean(0)) @ weights["W_enc"]).std(0)
    source = write_sae_lens(tmp_path, weights, 10, architecture="jumprelu")
    assert 7 < checked(subject, kind="sae_lens", source=str(source)).l0 < 13
    write_sae_lens(tmp_path, weights, 10, architecture="jumprelu", normalize_activations="constant_norm_rescale")
    with pytest.raises(UserError, match=REFUSED + ".*activation normalisation"):
        checked(subject, kind="sae_lens", source=str(source))


def test_a_transcoder_is_checked_on_what_it_writes(subject: Any, tmp_path: Path) -> None:
    """Its decoder is the least squares fit of the MLP's output, so its FVU is that of the linear regression."""
    x, y = values(subject, MLP_IN), values(subject, MLP_OUT)
    design = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    fit = torch.linalg.lstsq(design, y).solution
    unexplained = float((y - design @ fit).pow(2).sum() / (y - y.mean(0)).pow(2).sum())
    encoder = torch.cat([torch.eye(D), -torch.eye(D)], dim=1)
    weights = {"W_enc": encoder, "b_enc": torch.zeros(2 * D), "W_dec": torch.cat([fit[:-1], -fit[:-1]]), "b_dec": fit[-1]}
    stated = {"hook_name": MLP_IN, "hook_name_out": MLP_OUT}
    record: dict[str, Any] = {
        "kind": "sae_lens",
        "hook": MLP_IN,
        "source": str(write_sae_lens(tmp_path, weights, D, architecture="transcoder", metadata=stated)),
    }
    found = checked(subject, **record)
    assert found.dictionary.output_hook == MLP_OUT
    assert found.fvu == pytest.approx(unexplained, rel=1e-3) and unexplained < 0.9
    with pytest.raises(UserError, match=r"writes 32 dimensions, but blocks\.1\.mlp\.hook_post has 64.*output_hook"):
        checked(subject, **record, output_hook="blocks.1.mlp.hook_post")
    write_sae_lens(tmp_path, weights | {"W_dec": -3 * weights["W_dec"]}, D, architecture="transcoder", metadata=stated)
    with pytest.raises(UserError, match=r"does not fit blocks\.1\.mlp\.hook_in -> blocks\.1\.hook_mlp_out: .*FVU = \d+\.\d+"):
        checked(subject, **record)
    with pytest.raises(AssertionError, match=r"needs the values at blocks\.1\.hook_mlp_out"):
        self_check(load_dictionary("sae_lens", record["source"]), x)


@pytest.mark.parametrize(
    ("record", "most"),
    [
        ({"kind": "neurons", "hook": "blocks.0.mlp.hook_post", "width": 64}, 64),
        ({"kind": "topk_neurons", "hook": "blocks.0.mlp.hook_post", "width": 64, "k": 5}, 5),
        ({"kind": "rotated_topk_neurons", "hook": "blocks.0.mlp.hook_post", "width": 64, "k": 5}, 5),
        ({"kind": "random_topk", "width": 100, "d_in": D, "k": 7}, 7),
    ],
)
def test_baselines_pass_on_l0_alone_and_are_refused_at_another_width(subject: Any, record: dict[str, Any], most: int) -> None:
    found = checked(subject, **record)
    assert found.fvu is None and 0 < found.l0 <= most
    with pytest.raises(UserError, match=r"reads \d+ dimensions, but .* has \d+"):
        checked(subject, **{**record, "hook": "blocks.0.mlp.hook_post" if "d_in" in record else HOOK})


def test_a_callable_is_checked_like_the_others(subject: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Doubled:\n"
        "    l0_expected = 16.0\n"
        "    def encode(self, x): return x\n"
        "    def reconstruct(self, x, encoded): return x * 2.5\n"
        "def silent(x): return -x.abs()\n"
    )
    record = {"kind": "callable", "width": D, "d_in": D}
    with pytest.raises(UserError, match=REFUSED):
        checked(subject, **record, source=f"{tmp_path / 'mine.py'}:Doubled")
    with pytest.raises(UserError, match=r"L0 = 0\.0 \(not stated\), FVU = none"):
        checked(subject, **record, source=f"{tmp_path / 'mine.py'}:silent")


def test_a_dictionary_that_never_fires_is_refused() -> None:
    with pytest.raises(DictionaryError, match=r"L0 = 0\.0 \(not stated\), FVU = none"):
        refuse_bad_dictionary(load_dictionary("neurons", hook="h", width=4), -torch.rand(10, 4))


def test_dictionaries_at_one_hook_share_the_pass_of_their_self_checks(subject: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[dict[str, Any]] = [{"kind": "random_topk", "d_in": D, "k": 3}, {"kind": "random_topk", "d_in": D, "k": 5, "seed": 1}]
    records.append({**records[0], "hook": OTHER})
    alone = [checked(subject, **record).l0 for record in records]
    passes: list[list[str]] = []
    hook_values = subject.hook_values
    monkeypatch.setattr(subject, "hook_values", lambda rows, hooks: passes.append(list(hooks)) or hook_values(rows, hooks))
    probed: dict[str, Any] = {}
    assert [checked(subject, probed, **record).l0 for record in records] == alone
    assert passes == [[HOOK], [OTHER]]
