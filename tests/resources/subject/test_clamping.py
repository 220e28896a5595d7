"""Clamping against hooks made by hand that encode, set the feature, decode and add the error back, one window at a time."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import MODELS, subject_of, tiny_model

from resources.dictionaries import DictionaryError, load_dictionary
from resources.dictionaries.encoding import Threshold, TopK
from resources.dictionaries.interface import Encoded
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder
from resources.subject import clamper
from resources.subject.clamper import Clamper
from resources.subject.hook_points import ContextTooLong
from resources.subject.model import SubjectModel

D = 24
WINDOWS = np.concatenate([np.ones((5, 1), dtype=np.int64), np.random.default_rng(3).integers(3, 50, size=(5, 6))], axis=1)
"""Five windows of six tokens after BOS."""


def autoencoder(hook: str, output_hook: str | None = None, **changes: Any) -> SparseAutoencoder:
    """16 random latents in 24 dimensions, about half of them active."""
    source = torch.Generator().manual_seed(1)
    weights = [torch.randn(*shape, generator=source) * 0.3 for shape in ((D, 16), (16,), (16, D), (D,))]
    fields = {"kind": "tiny", "hook": hook, "output_hook": output_hook or hook, "l0_expected": None, "activation": Threshold()}
    return SparseAutoencoder(**{**fields, **dict(zip(("W_enc", "b_enc", "W_dec", "b_dec"), weights, strict=True)), **changes})  # type: ignore[arg-type]


def logits(subject: SubjectModel, window: np.ndarray) -> torch.Tensor:
    return subject.model(torch.from_numpy(window)[None], use_cache=False).logits[0]


def by_hand(
    subject: SubjectModel, module: str, sae: SparseAutoencoder, feature: int, value: float, clamps_all: bool = False
) -> torch.Tensor:
    """Mean change [vocabulary] over the tokens after BOS of every window, from a literal clamp of what comes out of a module."""

    def clamp(_module: Any, _inputs: Any, output: Any) -> Any:
        x = (output[0] if isinstance(output, tuple) else output)[0]
        encoded = sae.encode(x)
        dense = torch.zeros(len(x), sae.width)
        dense[encoded.token, encoded.feature] = encoded.value
        error = x - sae.reconstruct(x, encoded)
        dense[0 if clamps_all else 1 :, feature] = value
        token, place = torch.meshgrid(torch.arange(len(x)), torch.arange(sae.width), indexing="ij")
        changed = (sae.reconstruct(x, Encoded(token.flatten(), place.flatten(), dense.flatten())) + error)[None]
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    changes = []
    for window in WINDOWS:
        clean = logits(subject, window)
        handle = subject.model.get_submodule(module).register_forward_hook(clamp)
        changes.append((logits(subject, window) - clean)[1:])
        handle.remove()
    return torch.cat(changes).mean(0)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("block", [0, 1])
def test_a_batch_equals_the_literal_procedure_in_every_family(family: str, block: int) -> None:
    subject = subject_of(tiny_model(family))
    sae = autoencoder(f"blocks.{block}.hook_resid_post")
    plan = [(3, 2.0), (3, -2.0), (7, 5.0), (0, 0.0)]
    clamper = Clamper(subject, sae, WINDOWS, first_counted=1, batch_rows=7)
    found = clamper.mean_changes(np.array([f for f, _ in plan]), np.array([v for _, v in plan]))
    assert clamper.n_positions == 30
    module = subject.resolve_hook(sae.hook).module
    for row, (feature, value) in zip(found, plan, strict=True):
        torch.testing.assert_close(row, by_hand(subject, module, sae, feature, value), atol=1e-5, rtol=1e-5)
    assert found.abs().max() > 0.1, "the clamp did something"
    again = Clamper(subject, sae, WINDOWS, first_counted=1).mean_changes(np.array([3]), np.array([2.0]))
    torch.testing.assert_close(again[0], found[0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("norm", [{}, {"norm": "layer_norm"}, {"norm": "constant_norm_rescale"}, {"activation": TopK(2)}])
def test_the_error_term_and_the_scale_of_what_is_normalised_are_kept(norm: dict[str, Any]) -> None:
    subject, sae = subject_of(tiny_model("llama")), autoencoder("blocks.0.hook_resid_post", **norm)
    for clamps_all in (False, True):
        found = Clamper(subject, sae, WINDOWS, 1, clamps_all).mean_changes(np.array([2, 5]), np.array([1.7, 0.0]))
        for row, (feature, value) in zip(found, ((2, 1.7), (5, 0.0)), strict=True):
            expected = by_hand(subject, "model.layers.0", sae, feature, value, clamps_all)
            torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize(
    ("hook", "output_hook"),
    [
        ("blocks.1.hook_resid_pre", "blocks.1.hook_resid_pre"), ("blocks.1.hook_resid_mid", "blocks.1.hook_resid_mid"),
        ("blocks.1.hook_mlp_out", "blocks.1.hook_mlp_out"), ("blocks.0.hook_resid_pre", "blocks.1.hook_mlp_out"),
        ("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"),
    ],
)  # fmt: skip
def test_blocks_that_are_not_run_again_change_nothing(family: str, hook: str, output_hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, sae = subject_of(tiny_model(family)), autoencoder(hook, output_hook)
    features, values = np.array([3, 9]), np.array([2.0, -1.0])
    ran: list[int] = []
    handles = [
        subject.model.get_submodule(subject.resolve_hook(f"blocks.{n}.hook_mlp_out").module).register_forward_hook(
            lambda _m, _i, _o, n=n: ran.append(n)  # type: ignore[misc]
        )
        for n in (0, 1)
    ]
    resumed = Clamper(subject, sae, WINDOWS, 1)
    ran.clear()
    found = resumed.mean_changes(features, values)
    assert set(ran) == {1}, "the first block was run in advance"
    for handle in handles:
        handle.remove()
    monkeypatch.setattr(clamper, "blocks_before", lambda *arguments: ())
    torch.testing.assert_close(found, Clamper(subject, sae, WINDOWS, 1).mean_changes(features, values), atol=1e-5, rtol=1e-5)
    assert found.abs().max() > 1e-3
    assert all("forward" not in module.__dict__ for module in subject.model.modules()), "the model is left as it was"


def test_a_model_that_caps_its_logits_has_them_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma 2's cap makes the mean of the logits another thing than the logits of the mean; batches are bounded by the logits' size."""
    model = tiny_model("gemma2")
    model.config.final_logit_softcapping = 1.0
    subject, sae = subject_of(model), autoencoder("blocks.0.hook_resid_post")
    monkeypatch.setattr(clamper, "LOGIT_BYTES", 4 * 7 * 50 * 2)
    capped = Clamper(subject, sae, WINDOWS, 1)
    assert capped._unembedding is None and capped._rows_at_once == 2
    (found,) = capped.mean_changes(np.array([3]), np.array([4.0]))
    torch.testing.assert_close(found, by_hand(subject, "model.layers.0", sae, 3, 4.0), atol=1e-5, rtol=1e-5)
    model.config.final_logit_softcapping = None
    bare = Clamper(subject, sae, WINDOWS, 1)
    (uncapped,) = bare.mean_changes(np.array([3]), np.array([4.0]))
    assert bare._unembedding is not None and (uncapped - found).abs().max() > 0.1
    torch.testing.assert_close(uncapped, by_hand(subject, "model.layers.0", sae, 3, 4.0), atol=1e-5, rtol=1e-5)


def test_neurons_are_set_to_the_value() -> None:
    """A neuron's activation is its value where that is positive: clamped to v it is v there, and v more than it was elsewhere."""
    subject = subject_of(tiny_model("llama"))
    neurons = load_dictionary("neurons", hook="blocks.1.mlp.hook_post", width=40)
    (found,) = Clamper(subject, neurons, WINDOWS, 1).mean_changes(np.array([4]), np.array([3.0]))

    def clamp(_module: Any, inputs: tuple) -> tuple:
        value = inputs[0].clone()
        value[:, 1:, 4] = torch.where(value[:, 1:, 4] > 0, 0, value[:, 1:, 4]) + 3.0
        return (value,)

    changes = []
    for window in WINDOWS:
        clean = logits(subject, window)
        handle = subject.model.model.layers[1].mlp.down_proj.register_forward_pre_hook(clamp)
        changes.append((logits(subject, window) - clean)[1:])
        handle.remove()
    torch.testing.assert_close(found, torch.cat(changes).mean(0), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_clamped_says_why() -> None:
    subject = subject_of(tiny_model("llama"))
    with pytest.raises(DictionaryError, match=r"blocks\.0\.hook_mlp_out comes before blocks\.1\.hook_resid_post"):
        Clamper(subject, autoencoder("blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"), WINDOWS)
    narrow = load_dictionary("random_topk", hook="blocks.0.mlp.hook_post", width=16, d_in=D, k=4)
    with pytest.raises(DictionaryError, match=r"decoder rows have 24 dimensions, but blocks\.0\.mlp\.hook_post has 40"):
        Clamper(subject, narrow, WINDOWS)


def test_windows_longer_than_the_model_reads_are_refused() -> None:
    with pytest.raises(ContextTooLong, match="a context has 33 tokens, but tiny reads at most 32"):
        Clamper(subject_of(tiny_model("gpt2")), autoencoder("blocks.0.hook_resid_post"), np.full((1, 33), 4))
