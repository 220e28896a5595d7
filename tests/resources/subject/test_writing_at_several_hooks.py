"""A feature that writes at several hooks on a tiny model: harvested, projected, steered and clamped as hooks made by hand do it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import subject_of, tiny_model

from interp_assets.assets.vocabulary_projections.projections import residual_sum
from interp_assets.measuring.harvest import hooks_of
from resources.dictionaries import DictionaryError, load_dictionary, rows_by_hook
from resources.dictionaries.cross_layer import CrossLayerDictionary, FeatureGroup, RowsInFile
from resources.dictionaries.encoding import Threshold
from resources.subject.clamper import Clamper
from resources.subject.model import SubjectModel
from resources.subject.steerer import Interventions, Steerer

D, N = 24, 16
READS = ("blocks.0.mlp.hook_in", "blocks.1.mlp.hook_in")
WRITES = ("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")
MLPS = ("model.layers.0.mlp", "model.layers.1.mlp")
WINDOWS = np.concatenate([np.ones((3, 1), dtype=np.int64), np.random.default_rng(3).integers(3, 50, size=(3, 6))], axis=1)


@pytest.fixture(scope="module")
def subject() -> SubjectModel:
    return subject_of(tiny_model("llama"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-layer transcoder of both layers in circuit-tracer's files."""
    made = tmp_path_factory.mktemp("clt")
    torch.manual_seed(5)
    for layer in range(2):
        own = {f"W_enc_{layer}": torch.randn(N, D), f"b_enc_{layer}": torch.randn(N), f"b_dec_{layer}": torch.randn(D)}
        save_file(own, made / f"W_enc_{layer}.safetensors")
        save_file({f"W_dec_{layer}": torch.randn(N, 2 - layer, D)}, made / f"W_dec_{layer}.safetensors")
    hooks = "feature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n"
    (made / "config.yaml").write_text(f"model_kind: cross_layer_transcoder\n{hooks}")
    return made


def load(folder: Path, **record: Any) -> CrossLayerDictionary:
    found = load_dictionary("circuit_tracer", str(folder), record.pop("hook", READS[0]), **record)
    assert isinstance(found, CrossLayerDictionary)
    return found


@contextmanager
def changed(subject: SubjectModel, changes: dict[str, torch.Tensor]) -> Iterator[None]:
    """While open, Tensor[tokens or 1, D] is added to what comes out of each module."""
    with ExitStack() as stack:
        for module, change in changes.items():
            place = subject.model.get_submodule(module)
            stack.callback(place.register_forward_hook(lambda _m, _i, output, change=change: output + change).remove)
        yield


def logits(subject: SubjectModel, ids: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return subject.model(torch.from_numpy(ids)[None], use_cache=False).logits[0]


def read(subject: SubjectModel, ids: np.ndarray, hooks: tuple[str, ...]) -> torch.Tensor:
    values = subject.hook_values(ids[None], hooks)
    return torch.cat([values[hook][0] for hook in hooks], dim=-1)


def activation(dictionary: CrossLayerDictionary, x: torch.Tensor, feature: int) -> torch.Tensor:
    encoded = dictionary.encode(x)
    own = encoded.feature == feature
    return torch.zeros(len(x)).index_put_((encoded.token[own],), encoded.value[own])


def test_a_harvest_reads_several_hooks_in_one_pass(subject: SubjectModel, folder: Path) -> None:
    every, second = load(folder, reads=READS), load(folder, hook=READS[1])
    assert hooks_of([every, second]) == tuple(sorted((*READS, *WRITES)))
    found = {batch.name: batch for batch in subject.sparse_activations(WINDOWS, {"every": every, "second": second}, batch_rows=3)}
    x = torch.cat([read(subject, window, READS) for window in WINDOWS])
    ordinary = torch.from_numpy(~np.isin(WINDOWS.reshape(-1), list(subject.special_token_ids)))
    for name, dictionary, values in (("every", every, x), ("second", second, x[:, D:])):
        dense = torch.zeros(WINDOWS.size, dictionary.width)
        batch = found[name]
        place = torch.from_numpy(batch.row.astype(np.int64) * WINDOWS.shape[1] + batch.position)
        dense[place, torch.from_numpy(batch.feature.astype(np.int64))] = torch.from_numpy(batch.value)
        expected = torch.stack([activation(dictionary, values, feature) for feature in range(dictionary.width)], dim=1)
        torch.testing.assert_close(dense, expected * ordinary[:, None], atol=1e-5, rtol=1e-5)
        assert (dense > 0).any(dim=0).sum() > dictionary.width // 2


def test_projections_are_of_the_sum_in_the_residual_stream(subject: SubjectModel, folder: Path) -> None:
    clt = load(folder)
    rows = torch.stack([clt.decoder_row(feature) for feature in range(3)])
    torch.testing.assert_close(residual_sum(subject, clt, rows), rows[:, :D] + rows[:, D:])


@pytest.mark.parametrize(("record", "feature"), [({}, 2), ({"hook": READS[1]}, 2), ({"reads": READS}, 2), ({"reads": READS}, N + 2)])
def test_clamping_writes_every_row_at_its_own_hook(subject: SubjectModel, folder: Path, record: dict[str, Any], feature: int) -> None:
    clt = load(folder, **record)
    reads = clt.reads
    expected = []
    for window in WINDOWS:
        own = activation(clt, read(subject, window, reads), feature)
        amount = (3.0 - own)[:, None].clone()
        amount[0] = 0  # BOS
        parts = rows_by_hook(clt, clt.decoder_row(feature))
        changes = {MLPS[WRITES.index(hook)]: amount * part for hook, part in zip(clt.writes, parts, strict=True)}
        with changed(subject, changes):
            moved = logits(subject, window)
        expected.append((moved - logits(subject, window))[1:])
    found = Clamper(subject, clt, WINDOWS, first_counted=1).mean_changes(np.array([feature]), np.array([3.0]))[0]
    torch.testing.assert_close(found, torch.cat(expected).mean(0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("record", "feature"), [({}, 2), ({"reads": READS}, 2), ({"reads": READS}, N + 3)])
def test_steering_and_ablation_write_every_row_at_its_own_hook(
    subject: SubjectModel, folder: Path, record: dict[str, Any], feature: int
) -> None:
    clt = load(folder, **record)
    prompts = [window[: 4 + number] for number, window in enumerate(WINDOWS)]
    numbers = np.arange(3)
    steerer = Steerer(subject, clt, batch_rows=2)
    ready = steerer.prepare(prompts)
    plan = Interventions.joined([
        Interventions.adding(numbers, np.full(3, feature), np.full(3, 2.5)), Interventions.ablating(numbers, np.full(3, feature))
    ])  # fmt: skip
    found = steerer.divergences(ready, plan)
    parts = dict(zip(clt.writes, rows_by_hook(clt, clt.decoder_row(feature)), strict=True))
    expected = []
    for ablated in (False, True):
        for prompt in prompts:
            x = read(subject, prompt, clt.reads)
            amount = torch.zeros(len(prompt), 1)
            amount[-1] = -activation(clt, x, feature)[-1] if ablated else 2.5
            clean = logits(subject, prompt)[-1].log_softmax(-1)
            with changed(subject, {MLPS[WRITES.index(hook)]: amount * part for hook, part in parts.items()}):
                moved = logits(subject, prompt)[-1].log_softmax(-1)
            expected.append(float((clean.exp() * (clean - moved)).sum()))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert found.max() > 1e-3
    completions = steerer.completions(ready, plan, np.full((6, 4), 0.5))  # several passes, each with its own values
    assert all(len(one) <= 4 for one in completions)


def test_a_feature_that_reads_after_it_writes_is_steered_and_not_ablated(subject: SubjectModel, tmp_path: Path) -> None:
    """A crosscoder whose features read both layers at once: the activation is not known at the first write."""
    torch.manual_seed(1)
    save_file({"rows": torch.randn(N, 2, D)}, tmp_path / "rows.safetensors")
    rows = tuple(RowsInFile(tmp_path / "rows.safetensors", "rows", after=(place,)) for place in range(2))
    group = FeatureGroup((0, 1), torch.randn(2 * D, N), torch.randn(N), Threshold(), rows)
    hooks = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    crosscoder = CrossLayerDictionary("callable", hooks, hooks, (D, D), (group,), torch.zeros(2, D))
    steerer = Steerer(subject, crosscoder)
    ready = steerer.prepare([WINDOWS[0]])
    assert steerer.divergences(ready, Interventions.adding(np.array([0]), np.array([1]), np.array([2.0])))[0] > 0
    with pytest.raises(DictionaryError, match=r"reads blocks\.1\.hook_resid_post, which comes after blocks\.0\.hook_resid_post"):
        steerer.divergences(ready, Interventions.ablating(np.array([0]), np.array([1])))
    clamped = Clamper(subject, crosscoder, WINDOWS, first_counted=1).mean_changes(np.array([1]), np.array([2.0]))  # by the clean model
    assert clamped.abs().max() > 0
