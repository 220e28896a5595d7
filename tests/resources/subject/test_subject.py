"""Hooks against transformers' own outputs, the early stop, and sparse activations against a dense reference."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from interp_assets.demo.train_sae import SAE_FOLDER
from resources.dictionaries import DictionaryError, load_dictionary, refuse_bad_dictionary
from resources.subject.hook_points import resolve_hook
from resources.subject.model import SubjectModel, UnknownHook

pytestmark = pytest.mark.real_model
RESIDUAL, NEURONS = "blocks.9.hook_resid_post", "blocks.9.mlp.hook_post"
needs_demo_sae = pytest.mark.skipif(not (SAE_FOLDER / "cfg.json").is_file(), reason="the demo SAE is not in the checkout")


@pytest.fixture(scope="module")
def subject() -> Iterator[SubjectModel]:
    model = SubjectModel.load("embedded:smollm2-135m-instruct", device="cpu")
    yield model
    model.close()


@pytest.fixture(scope="module")
def rows(subject: SubjectModel) -> np.ndarray:
    """Four rows of 48 tokens: BOS, prose, and EOS in the middle of each."""
    text = "The president asked the congress to provide for the public debt and the common defence of the States. " * 20
    ids = np.array(subject.tokenizer(text)["input_ids"][:188], dtype=np.int32).reshape(4, 47)
    ids[:, 20] = subject.eos_token_id
    return np.concatenate([np.full((4, 1), subject.bos_token_id, dtype=np.int32), ids], axis=1)


def test_residual_equals_hidden_states(subject: SubjectModel, rows: np.ndarray) -> None:
    with torch.inference_mode():
        states = subject.model(torch.from_numpy(rows.astype(np.int64)), output_hidden_states=True).hidden_states
    found = subject.hook_values(rows, [RESIDUAL, "model.layers.9", "blocks.9.hook_resid_pre"])
    torch.testing.assert_close(found[RESIDUAL], states[10], atol=1e-4, rtol=1e-4)
    assert torch.equal(found["model.layers.9"], found[RESIDUAL])
    torch.testing.assert_close(found["blocks.9.hook_resid_pre"], states[9], atol=1e-4, rtol=1e-4)


def test_nothing_deeper_than_the_hook_runs(subject: SubjectModel, rows: np.ndarray) -> None:
    ran: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda _m, _i, name=name: ran.append(name))
        for name, module in subject.model.named_modules()
        if name
    ]
    subject.hook_values(rows, [RESIDUAL, "blocks.3.hook_mlp_out"])
    for handle in handles:
        handle.remove()
    assert "model.layers.9" in ran
    assert not [name for name in ran if name.startswith(("model.layers.10", "model.norm", "lm_head"))]


def test_neurons_equal_a_hand_made_hook(subject: SubjectModel, rows: np.ndarray) -> None:
    seen: list[torch.Tensor] = []
    handle = subject.model.model.layers[9].mlp.down_proj.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        subject.model(torch.from_numpy(rows.astype(np.int64)))
    handle.remove()
    torch.testing.assert_close(subject.hook_values(rows, [NEURONS])[NEURONS], seen[0], atol=1e-5, rtol=1e-5)


def test_sparse_activations_equal_the_dense_values_without_special_tokens(subject: SubjectModel, rows: np.ndarray) -> None:
    neurons = {
        "all": load_dictionary("neurons", hook=NEURONS, width=1536),
        "top": load_dictionary("topk_neurons", hook="blocks.2.mlp.hook_post", width=1536, k=8),
    }
    chosen = np.array([3, 7, 1535])
    batches = list(subject.sparse_activations(rows, neurons, {"all": chosen}, batch_rows=3))
    assert [(b.name, b.rows_done) for b in batches] == [("all", 3), ("top", 3), ("all", 4), ("top", 4)]
    expected = subject.hook_values(rows, [NEURONS])[NEURONS].clamp(min=0).numpy()
    expected[np.isin(rows, list(subject.special_token_ids))] = 0
    found = np.zeros_like(expected)
    for b in batches:
        assert (b.row.dtype, b.position.dtype, b.feature.dtype, b.value.dtype) == ("u4", "u2", "u4", "f4")
        if b.name == "all":
            found[b.row, b.position, b.feature] = b.value
        assert (b.position > 0).all()
    np.testing.assert_allclose(found[..., chosen], expected[..., chosen], atol=1e-5)
    assert not np.delete(found, chosen, axis=2).any()


def test_a_continued_harvest_gives_the_rest(subject: SubjectModel, rows: np.ndarray) -> None:
    neurons = {"n": load_dictionary("topk_neurons", hook=NEURONS, width=1536, k=4)}
    rest = list(subject.sparse_activations(rows, neurons, batch_rows=2, first_row=2))
    assert {int(r) for b in rest for r in b.row} == {2, 3}


def test_unknown_hooks_name_the_nearest(subject: SubjectModel) -> None:
    with pytest.raises(UnknownHook, match=r"blocks\.9\.hook_resid_post"):
        subject.resolve_hook("blocks.9.hook_residual_post")
    with pytest.raises(UnknownHook, match="30 blocks"):
        subject.resolve_hook("blocks.30.hook_resid_post")


@pytest.mark.parametrize(
    ("family", "hook", "module", "side"),
    [
        ("gemma2", "hook_mlp_out", "model.layers.1.post_feedforward_layernorm", "output"),
        ("gpt2", "mlp.hook_post", "transformer.h.1.mlp.c_proj", "input"),
        ("gpt_neox", "mlp.hook_post", "gpt_neox.layers.1.mlp.dense_4h_to_h", "input"),
        ("qwen2", "hook_resid_pre", "model.layers.1", "input"),
    ],
)
def test_families(family: str, hook: str, module: str, side: str) -> None:
    point = resolve_hook(f"blocks.1.{hook}", family, 2, [])
    assert (point.module, point.side) == (module, side)


def test_wrong_width_is_refused(subject: SubjectModel, rows: np.ndarray) -> None:
    with pytest.raises(DictionaryError, match=r"reads 99 dimensions, but .* has 1536"):
        list(subject.sparse_activations(rows, {"n": load_dictionary("neurons", hook=NEURONS, width=99)}))


@needs_demo_sae
def test_demo_sae_fits_its_hook_and_no_other(subject: SubjectModel, rows: np.ndarray, tmp_path: Path) -> None:
    sae = load_dictionary("sae_lens", str(SAE_FOLDER))
    ordinary = torch.from_numpy(~np.isin(rows, list(subject.special_token_ids)))
    values = subject.hook_values(rows, [RESIDUAL, "blocks.25.hook_resid_post"])
    assert refuse_bad_dictionary(sae, values[RESIDUAL][ordinary]).fvu < 0.5
    with pytest.raises(DictionaryError, match=r"L0 = .*FVU = "):
        refuse_bad_dictionary(sae, values["blocks.25.hook_resid_post"][ordinary])


@needs_demo_sae
def test_demo_sae_equals_sae_lens(subject: SubjectModel, rows: np.ndarray) -> None:
    lens = pytest.importorskip("sae_lens")
    sae = load_dictionary("sae_lens", str(SAE_FOLDER))
    x = subject.hook_values(rows, [RESIDUAL])[RESIDUAL][:, 1:].flatten(0, 1)
    with torch.no_grad():
        expected = lens.SAE.load_from_disk(SAE_FOLDER, device="cpu").encode(x)
    encoded = sae.encode(x)
    found = torch.zeros_like(expected).index_put_((encoded.token, encoded.feature), encoded.value)
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.max()), rtol=1e-5)
