"""SAELens folders and releases of every architecture against sae-lens's own encoders and decoders, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from resources.dictionaries import DictionaryError, load_dictionary
from resources.dictionaries.sae_lens import CENTRED_HOOKS

D_IN, WIDTH, D_OUT = 12, 40, 10
HOOK, HOOK_OUT = "blocks.0.hook_resid_post", "blocks.0.hook_mlp_out"
CLASSES = {
    "topk": ("TopKSAE", "TopKSAEConfig", {"k": 5}),
    "jumprelu": ("JumpReLUSAE", "JumpReLUSAEConfig", {}),
    "standard": ("StandardSAE", "StandardSAEConfig", {}),
    "gated": ("GatedSAE", "GatedSAEConfig", {}),
}
TRANSCODERS = {
    "transcoder": ("Transcoder", "TranscoderConfig", {}),
    "skip_transcoder": ("SkipTranscoder", "SkipTranscoderConfig", {}),
    "jumprelu_transcoder": ("JumpReLUTranscoder", "JumpReLUTranscoderConfig", {}),
    "jumprelu_skip_transcoder": ("JumpReLUSkipTranscoder", "JumpReLUSkipTranscoderConfig", {}),
}


def drawn(sae: Any) -> Any:
    """The module of sae-lens with random weights; half of the thresholds below zero."""
    torch.manual_seed(0)
    for name, weight in sae.named_parameters():
        weight.data = torch.rand_like(weight) - 0.5 if name == "threshold" else torch.randn_like(weight) * 0.5
    return sae


def saved(folder: Path, architecture: str, metadata: dict[str, Any] | None = None, **options: Any) -> Any:
    """A random autoencoder or transcoder of sae-lens, saved to `folder` and loaded by sae-lens again."""
    lens = pytest.importorskip("sae_lens")
    kind, config, extra = (CLASSES | TRANSCODERS)[architecture]
    modules = lens.saes.transcoder if architecture in TRANSCODERS else lens
    if architecture in TRANSCODERS:
        options |= {"d_out": D_OUT, "apply_b_dec_to_input": False}
    described = lens.saes.sae.SAEMetadata(**{"hook_name": HOOK, **(metadata or {})})
    config = getattr(modules, config)(d_in=D_IN, d_sae=WIDTH, dtype="float32", device="cpu", metadata=described, **extra, **options)
    drawn(getattr(modules, kind)(config)).save_model(folder)
    return (lens.saes.transcoder.Transcoder if architecture in TRANSCODERS else lens.SAE).load_from_disk(folder, device="cpu")


@torch.no_grad()
def answers(theirs: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What sae-lens encodes x to, and reconstructs."""
    return theirs.encode(x), theirs(x)


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"apply_b_dec_to_input": False},
        {"normalize_activations": "constant_norm_rescale"},
        {"normalize_activations": "layer_norm"},
    ],
)
def test_autoencoders_equal_sae_lens(tmp_path: Path, architecture: str, options: dict[str, Any], agrees: Any) -> None:
    theirs = saved(tmp_path, architecture, **options)
    x = torch.randn(30, D_IN) * 3
    agrees(load_dictionary("sae_lens", str(tmp_path)), x, *answers(theirs, x))


@pytest.mark.parametrize("architecture", TRANSCODERS)
def test_transcoders_equal_sae_lens(tmp_path: Path, architecture: str, agrees: Any) -> None:
    theirs = saved(tmp_path, architecture, metadata={"hook_name": "blocks.0.mlp.hook_in", "hook_name_out": HOOK_OUT})
    ours = load_dictionary("sae_lens", str(tmp_path))
    assert (ours.hook, ours.output_hook, ours.d_in) == ("blocks.0.mlp.hook_in", HOOK_OUT, D_IN)
    assert ours.decoder_row(3).shape == (D_OUT,)
    x = torch.randn(30, D_IN)
    agrees(ours, x, *answers(theirs, x))


def test_a_transcoder_without_its_output_hook_is_refused_and_the_record_may_name_it(tmp_path: Path) -> None:
    saved(tmp_path, "transcoder")
    with pytest.raises(DictionaryError, match="does not say where it writes"):
        load_dictionary("sae_lens", str(tmp_path))
    assert load_dictionary("sae_lens", str(tmp_path), output_hook="blocks.0.mlp").output_hook == "blocks.0.mlp"


def test_the_two_meanings_of_hook_mlp_in_are_told_apart(tmp_path: Path) -> None:
    stated = {
        "hook_name": "blocks.0.hook_mlp_in",
        "hook_name_out": HOOK_OUT,
        "hf_hook_name": "model.layers.0.pre_feedforward_layernorm.output",
    }
    saved(tmp_path, "jumprelu_transcoder", metadata=stated)
    with pytest.raises(DictionaryError, match=r"which is blocks\.0\.mlp\.hook_in"):
        load_dictionary("sae_lens", str(tmp_path))
    assert load_dictionary("sae_lens", str(tmp_path), "blocks.0.mlp.hook_in").hook == "blocks.0.mlp.hook_in"


@pytest.mark.parametrize("norm_of_decoder", [False, True])
def test_topk_rescaled_by_decoder_norm_equals_sae_lens(tmp_path: Path, norm_of_decoder: bool, agrees: Any) -> None:
    theirs = saved(tmp_path, "topk", rescale_acts_by_decoder_norm=norm_of_decoder)
    ours = load_dictionary("sae_lens", str(tmp_path))
    x = torch.randn(20, D_IN)
    agrees(ours, x, *answers(theirs, x))
    assert (ours.decoder_row(3).norm().item() == pytest.approx(1.0)) == norm_of_decoder
    assert ours.l0_expected == 5


@pytest.mark.parametrize("name", ["BatchTopK", "MatryoshkaBatchTopK"])
@pytest.mark.parametrize("rescale", [False, True])
def test_batchtopk_in_training_and_saved_for_inference_are_one(tmp_path: Path, name: str, rescale: bool, agrees: Any) -> None:
    lens = pytest.importorskip("sae_lens")
    extra = {"matryoshka_widths": [10, WIDTH]} if name.startswith("Matryoshka") else {}
    config = getattr(lens, f"{name}TrainingSAEConfig")(d_in=D_IN, d_sae=WIDTH, k=5, rescale_acts_by_decoder_norm=rescale, **extra)
    config.metadata.hook_name = HOOK
    training = drawn(getattr(lens, f"{name}TrainingSAE")(config))
    training.topk_threshold = torch.tensor(0.8, dtype=torch.double)
    training.save_model(tmp_path / "training")
    training.save_inference_model(tmp_path / "inference")
    theirs = lens.SAE.load_from_disk(tmp_path / "inference", device="cpu")
    assert theirs.cfg.architecture() == "jumprelu"
    x = torch.randn(30, D_IN)
    for folder in ("training", "inference"):
        agrees(load_dictionary("sae_lens", str(tmp_path / folder)), x, *answers(theirs, x))


def test_expected_average_only_in_is_folded_with_the_factor_beside_it(tmp_path: Path, agrees: Any) -> None:
    theirs = saved(tmp_path, "topk", normalize_activations="expected_average_only_in", rescale_acts_by_decoder_norm=True)
    (tmp_path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": None}))
    with pytest.raises(DictionaryError, match=r"Fold expected_average_only_in.*activation_scaler\.json"):
        load_dictionary("sae_lens", str(tmp_path))
    (tmp_path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.25}))
    theirs.fold_activation_norm_scaling_factor(0.25)
    x = torch.randn(20, D_IN) * 4
    agrees(load_dictionary("sae_lens", str(tmp_path)), x, *answers(theirs, x))


def test_hook_z_is_read_with_its_heads_side_by_side(tmp_path: Path, agrees: Any) -> None:
    theirs = saved(tmp_path, "standard", metadata={"hook_name": "blocks.0.attn.hook_z"}, reshape_activations="hook_z")
    x = torch.randn(9, D_IN)
    with torch.no_grad():
        encoded = theirs.encode(x.view(9, 3, 4))
        decoded = theirs.decode(encoded).flatten(1)
    agrees(load_dictionary("sae_lens", str(tmp_path)), x, encoded, decoded)


@pytest.mark.parametrize(
    "old",
    [
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 6}, "normalize_activations": None},
        {"activation_fn_str": "relu", "normalize_activations": False},
        {"architecture": "jumprelu", "normalize_activations": "layer_norm", "apply_b_dec_to_input": False},
    ],
)
def test_folders_from_before_version_6_equal_sae_lens(tmp_path: Path, old: dict[str, Any], agrees: Any) -> None:
    lens = pytest.importorskip("sae_lens")
    saved(tmp_path, "jumprelu")
    weights = load_file(tmp_path / "sae_weights.safetensors")
    if old.get("architecture") != "jumprelu":
        weights.pop("threshold")
    save_file(weights | {"scaling_factor": torch.ones(D_IN)}, tmp_path / "sae_weights.safetensors")
    config = {
        "d_in": D_IN,
        "d_sae": WIDTH,
        "dtype": "float32",
        "hook_point": HOOK,
        "model_name": "tiny",
        "finetuning_scaling_factor": False,
    }
    (tmp_path / "cfg.json").write_text(json.dumps(config | old))
    x = torch.randn(20, D_IN)
    ours = load_dictionary("sae_lens", str(tmp_path))
    assert ours.hook == HOOK
    agrees(ours, x, *answers(lens.SAE.load_from_disk(tmp_path, device="cpu"), x))


@pytest.mark.filterwarnings(r"ignore:\s*This SAE has non-empty")
def test_centring_equals_hooks_of_weights_that_transformer_lens_processed(tmp_path: Path) -> None:
    """A release marked with center_writing_weights sees on our hooks what it saw on TransformerLens's processed GPT-2."""
    from resources.fakes import FakeTokenizer
    from resources.subject.model import SubjectModel
    from resources.weights import ModelFolder

    builder = pytest.importorskip("transformer_lens.model_bridge.sources._bridge_builder")
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=50, n_embd=D_IN, n_layer=2, n_head=3, n_positions=32, bos_token_id=1, eos_token_id=2)
    model = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.copy_(torch.randn_like(weight) + 0.5)
    tokens = torch.randint(3, 50, (2, 8))
    values = SubjectModel(model, FakeTokenizer(), ModelFolder("tiny", None, "tiny", "1")).hook_values(  # type: ignore[arg-type]
        tokens.numpy(), [f"blocks.1.{hook}" for hook in CENTRED_HOOKS]
    )
    bridge = builder.build_bridge_from_module(model, "GPT2LMHeadModel", hf_config=config)
    bridge.enable_compatibility_mode(fold_ln=False, center_unembed=False, fold_value_biases=False, disable_warnings=True)
    _, processed = bridge.run_with_cache(tokens)
    for hook in CENTRED_HOOKS:
        name = f"blocks.1.{hook}"
        marked = {"hook_name": name, "model_from_pretrained_kwargs": {"center_writing_weights": True}}
        theirs = saved(tmp_path / hook, "standard", metadata=marked)
        x, y = values[name].flatten(0, 1), processed[name].flatten(0, 1)
        torch.testing.assert_close(x - x.mean(-1, keepdim=True), y, atol=1e-3, rtol=1e-3)
        assert (x - y).abs().max() > 0.1
        ours = load_dictionary("sae_lens", str(tmp_path / hook))
        encoded, (expected, decoded) = ours.encode(x), answers(theirs, y)
        found = torch.zeros_like(expected).index_put_((encoded.token, encoded.feature), encoded.value)
        torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-3)
        torch.testing.assert_close(ours.reconstruct(x, encoded), decoded + x.mean(-1, keepdim=True), atol=1e-2, rtol=1e-3)


def test_releases_are_asked_of_sae_lens_with_their_stated_l0(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, agrees: Any) -> None:
    lens = pytest.importorskip("sae_lens")
    theirs, asked = saved(tmp_path, "topk", rescale_acts_by_decoder_norm=True), []
    monkeypatch.setattr(lens.SAE, "from_pretrained", lambda release, sae_id, device: asked.append((release, sae_id)) or theirs)
    x = torch.randn(5, D_IN)
    expected = answers(theirs, x)
    for source in ("gpt2-small-res-jb/blocks.8.hook_resid_pre", "owner/repository/folder/of/one"):
        agrees(load_dictionary("sae_lens", source), x, *expected)
    assert asked == [
        ("gpt2-small-res-jb", "blocks.8.hook_resid_pre"),
        ("owner/repository", "folder/of/one"),
    ]
    theirs = saved(tmp_path / "other", "standard")
    assert load_dictionary("sae_lens", "gpt2-small-res-jb/blocks.0.hook_resid_pre").l0_expected == 10  # pretrained_saes.yaml


def test_the_revision_follows_what_decides_the_activations(tmp_path: Path) -> None:
    saved(tmp_path, "topk")
    revision = load_dictionary("sae_lens", str(tmp_path)).revision
    config = json.loads((tmp_path / "cfg.json").read_text())
    revisions = []
    for change in ({}, {"metadata": {**config["metadata"], "model_name": "x"}}, {"k": 6}, {"apply_b_dec_to_input": False}):
        (tmp_path / "cfg.json").write_text(json.dumps(config | change))
        revisions.append(load_dictionary("sae_lens", str(tmp_path)).revision)
    assert len(revision) == 16 and revisions[:2] == [revision, revision] and len(set(revisions)) == 3


def test_a_missing_checkpoint_in_a_local_folder_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "topk" / "20").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DictionaryError, match=r"'runs/topk/30' is neither a folder on this machine.* runs/topk holds 20\."):
        load_dictionary("sae_lens", "runs/topk/30")


def test_malformed_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=r"has no \['cfg.json'"):
        load_dictionary("sae_lens", str(tmp_path))
    with pytest.raises(DictionaryError, match="neither a folder"):
        load_dictionary("sae_lens", "/no/such")
    saved(tmp_path, "topk")
    with pytest.raises(DictionaryError, match="has width 40, but its record says 41"):
        load_dictionary("sae_lens", str(tmp_path), width=41)
    config, weights = json.loads((tmp_path / "cfg.json").read_text()), load_file(tmp_path / "sae_weights.safetensors")
    for change, message in [
        ({"architecture": "temporal"}, r"\(temporal\) lacks \['attn_layers"),
        ({"normalize_activations": "expected_average_only_in"}, "Fold"),
        ({"reshape_activations": "other"}, "reshape_activations 'other'"),
        ({"d_in": 13}, "W_enc of shape"),
        ({"k": None}, r"lacks \['k'\]"),
        ({"metadata": {}}, "does not say its hook"),
    ]:
        (tmp_path / "cfg.json").write_text(json.dumps(config | change))
        with pytest.raises(DictionaryError, match=message):
            load_dictionary("sae_lens", str(tmp_path))
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    for change, message in [
        ({"scaling_factor": torch.full((D_IN,), 2.0)}, "finetuning scaling_factor"),
        ({"b_dec": torch.zeros(D_IN + 1)}, "b_dec of shape"),
        ({"W_dec": torch.zeros(WIDTH, D_IN + 1), "b_dec": torch.zeros(D_IN + 1)}, "it is a transcoder"),
    ]:
        save_file(weights | change, tmp_path / "sae_weights.safetensors")
        with pytest.raises(DictionaryError, match=message):
            load_dictionary("sae_lens", str(tmp_path))


@pytest.mark.parametrize(
    ("change", "function"),
    [({"activation_fn_str": "tanh-relu"}, "tanh-relu"), ({"activation_fn": "gelu"}, "gelu"), ({"activation_fn": "noise"}, "noise")],
)
@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated"])
def test_an_activation_function_that_is_not_relu_is_refused_by_name(
    tmp_path: Path, change: dict[str, str], function: str, architecture: str
) -> None:
    saved(tmp_path, architecture)
    config = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps(config | change))
    with pytest.raises(DictionaryError, match=rf"activation_fn '{function}'; supported: relu, topk"):
        load_dictionary("sae_lens", str(tmp_path))
    (tmp_path / "cfg.json").write_text(json.dumps(config | dict.fromkeys(change, "relu")))
    assert load_dictionary("sae_lens", str(tmp_path)).width == WIDTH


@pytest.mark.parametrize("at_top", [True, False])
@pytest.mark.parametrize(
    ("positions", "noted"),
    [
        ([5, -5], True),
        ([1, None, 2], True),
        ([None], False),
        (None, False),
        ([0, None, 1], False),
        ([None, None, None], False),
        ("(5, -5)", True),
        ("slice(1, None)", True),
        ("5:-5", True),
        ("(None,)", False),
        ("[0, None]", False),
        ("", False),
        (5, True),
        (2.5, True),
        ({"start": 5}, True),
        ("odd ones", True),
        ([[5, 9]], True),
    ],
)
def test_positions_left_out_of_training_are_noted_and_change_nothing(tmp_path: Path, positions: Any, noted: bool, at_top: bool) -> None:
    saved(tmp_path, "standard")
    revision = load_dictionary("sae_lens", str(tmp_path)).revision
    config = json.loads((tmp_path / "cfg.json").read_text())
    place = config if at_top else config["metadata"]
    place["seqpos_slice"] = positions
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    ours: Any = load_dictionary("sae_lens", str(tmp_path))
    assert ours.revision == revision and len(ours.notes) == noted
    assert all(f"positions {positions}" in note and "all positions are encoded" in note for note in ours.notes)


WHITENED = {
    "standard": ("StandardTrainingSAE", {}),
    "topk": ("TopKTrainingSAE", {"k": 5}),
    "jumprelu": ("JumpReLUTrainingSAE", {}),
    "gated": ("GatedTrainingSAE", {}),
    "batchtopk": ("BatchTopKTrainingSAE", {"k": 5}),
}


@pytest.mark.parametrize("architecture", WHITENED)
@pytest.mark.parametrize("subtracts", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
def test_a_whitened_checkpoint_is_folded_as_sae_lens_folds_it(
    tmp_path: Path, architecture: str, subtracts: bool, rescale: bool, agrees: Any
) -> None:
    lens = pytest.importorskip("sae_lens")
    from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening

    name, extra = WHITENED[architecture]
    if rescale and "topk" in architecture:
        extra = {**extra, "rescale_acts_by_decoder_norm": True}
    elif rescale:
        pytest.skip("the architecture has no such option")
    options = {"apply_b_dec_to_input": subtracts, "normalize_activations": "covariance_whitening", **extra}
    config = getattr(lens, f"{name}Config")(d_in=D_IN, d_sae=WIDTH, **options)
    config.metadata.hook_name = HOOK
    training = drawn(getattr(lens, name)(config))
    if architecture == "batchtopk":
        training.topk_threshold = torch.tensor(0.8, dtype=torch.double)
    matrix = torch.randn(D_IN, D_IN) * 0.4 + torch.eye(D_IN)
    whitening = ActivationWhitening(torch.randn(D_IN), matrix, torch.linalg.inv(matrix))
    training.save_model(tmp_path)
    with pytest.raises(DictionaryError, match=r"within a training: put the activation_whitening\.safetensors.*saved at its end"):
        load_dictionary("sae_lens", str(tmp_path))
    ActivationScaler(whitening=whitening).save(str(tmp_path / "activation_scaler.json"))
    assert (tmp_path / "activation_whitening.safetensors").is_file()
    training.fold_activation_whitening(whitening.mean, whitening.matrix, whitening.inverse_matrix)
    training.save_inference_model(tmp_path / "inference")
    theirs = lens.SAE.load_from_disk(tmp_path / "inference", device="cpu")
    x = torch.randn(30, D_IN)
    encoded, decoded = answers(theirs, x)
    assert (encoded > 0).any(dim=1).all()
    agrees(load_dictionary("sae_lens", str(tmp_path)), x, encoded, decoded)


def test_whitening_that_does_not_fit_or_was_not_done_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "standard", normalize_activations="covariance_whitening")
    path = tmp_path / "activation_whitening.safetensors"
    save_file({"mean": torch.zeros(D_IN), "matrix": torch.eye(D_IN)}, path)
    with pytest.raises(DictionaryError, match=r"must hold.*inverse_matrix"):
        load_dictionary("sae_lens", str(tmp_path))
    save_file({"mean": torch.zeros(D_IN), "matrix": torch.eye(D_IN), "inverse_matrix": torch.eye(D_IN)}, path)
    (tmp_path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": None, "has_whitening": False}))
    with pytest.raises(DictionaryError, match="within a training"):
        load_dictionary("sae_lens", str(tmp_path))
