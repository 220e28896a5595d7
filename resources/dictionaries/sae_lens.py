"""SAELens format: a folder with `cfg.json` and `sae_weights.safetensors`, or "release/sae_id" on the hub.

Architectures, with h the encoder's pre-activations:

    topk      the k largest h, where > 0          jumprelu   h where h > threshold and h > 0
    abstopk   the k largest |h| with their signs; the negative side of a feature is a feature of its own
    matching_pursuit, temporal  see matching_pursuit.py and temporal.py
    standard  relu(h)                             gated      relu(x (W exp(r_mag)) + b_mag) where x W + b_gate > 0
    batchtopk, matryoshka_batchtopk  as jumprelu, with one threshold for all latents, kept from training
    transcoder, skip_transcoder, jumprelu_transcoder, jumprelu_skip_transcoder  relu or jumprelu, from one hook to another

`rescale_acts_by_decoder_norm` is folded into the weights: activations are in SAELens's units, decoder rows have norm 1.
`expected_average_only_in` is folded with the factor in `activation_scaler.json`, and `covariance_whitening` with the matrices in
`activation_whitening.safetensors`, which SAELens keeps beside its checkpoints: both as SAELens folds them at the end of a training.
A model processed by TransformerLens is marked `model_from_pretrained_kwargs: {center_writing_weights: true}` in the metadata.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.dictionaries.encoding import Activation, Gate, Threshold, TopK
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.matching_pursuit import MatchingPursuit, pursuit_of
from resources.dictionaries.sae_lens_folds import WHITENING_FILE, fold_decoder_norm_where_asked, fold_scaling_factor, fold_whitening
from resources.dictionaries.sources import commit_of, downloaded, is_local, listing_beside, refuse_damaged, refuse_file, source_folder
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder, checked_autoencoder, with_negative_sides
from resources.dictionaries.temporal import TemporalAutoencoder, temporal_of
from resources.dictionaries.weight_files import read_config, read_tensors, whole_number

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "sae_weights.safetensors"
SCALER_FILE = "activation_scaler.json"
WEIGHT_NAMES = {
    "topk": ("b_enc",),
    "abstopk": ("b_enc",),
    "matching_pursuit": (),
    "standard": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "batchtopk": ("b_enc", "topk_threshold"),
    "matryoshka_batchtopk": ("b_enc", "topk_threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
    "transcoder": ("b_enc",),
    "skip_transcoder": ("b_enc", "W_skip"),
    "jumprelu_transcoder": ("b_enc", "threshold"),
    "jumprelu_skip_transcoder": ("b_enc", "threshold", "W_skip"),
}
TOPK = ("topk", "abstopk")
NORMS = ("none", "constant_norm_rescale", "layer_norm")
ACTIVATION_FNS = (None, "relu", "topk")
ADVICE = {
    "expected_average_only_in": (
        ". Fold expected_average_only_in (fold_activation_norm_scaling_factor) and save it again, or put its activation_scaler.json into "
        "the folder"
    ),
    "covariance_whitening": (
        ". It is a checkpoint from within a training: put the activation_whitening.safetensors into the folder that SAELens wrote beside "
        "it, or fold it (fold_activation_whitening) and save it again, or take the SAE that the training saved at its end"
    ),
}
ONE_AT_A_TIME = threading.Lock()
"""Held while the downloads of sae-lens are changed."""
SUMMED = (
    "SAELens loads one layer of a cross-layer transcoder, with the sum of the rows at all written layers as the decoder: the self-check "
    "has not verified the hook, since it has checked the encoder alone, and steering would write the sum at one hook. For rows by layer, "
    "use kind circuit_tracer or gemma_scope"
)
CENTRED_HOOKS = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out")


def load_sae_lens(
    source: str, hook: str | None = None, output_hook: str | None = None, width: int | None = None, d_in: int | None = None
) -> SparseAutoencoder | MatchingPursuit | TemporalAutoencoder:
    """The autoencoder or transcoder in folder `source`, "release/sae_id" downloaded by the package sae-lens, or "owner/repository" with its
    files at the root, on the CPU in float32.

    Hooks, width and d_in default to the values of the configuration. Width and d_in must agree with the configuration; another hook is
    allowed, and left to the self-check. Raises `DictionaryError`.
    """
    refuse_file(source)
    if Path(source).expanduser().is_dir():
        config, weights = _read_folder(source)
    elif is_local(source) or "/" not in source:
        raise DictionaryError(
            f"SAE source {source!r} is neither a folder on this machine nor release/sae_id. Check the path or the mount."
            f"{listing_beside(source)}"
        )
    else:
        config, weights = _download(source)
    metadata = config["metadata"]
    _refuse_other_formulas(source, config)
    if config["architecture"] != "temporal":
        _refuse_unusable(source, config, weights)
    named = hook or metadata.get("hook_name")
    if not named:
        raise DictionaryError(f"SAE {source} does not say its hook (metadata.hook_name in cfg.json). Name it in the record.")
    _refuse_ambiguous_input(source, named, metadata)
    notes = _trained_on_some_positions(source, metadata.get("seqpos_slice"))
    if config["architecture"] == "temporal":
        return temporal_of(source, config, weights, named, output_hook, width, d_in, notes)
    if config["architecture"] == "matching_pursuit":
        return pursuit_of(source, config, weights, named, output_hook, width, d_in, notes)
    transcodes = config["architecture"].endswith("transcoder")
    output = (output_hook or metadata.get("hook_name_out")) if transcodes else (output_hook or named)
    if not output:
        raise DictionaryError(f"transcoder {source} does not say where it writes (metadata.hook_name_out). Name output_hook in the record.")
    kept_kwargs = metadata.get("model_from_pretrained_kwargs") or {}
    autoencoder = SparseAutoencoder(
        kind="sae_lens",
        hook=named,
        output_hook=output,
        l0_expected=float(config["k"]) if config["architecture"] in TOPK else metadata.get("l0"),
        W_enc=weights["W_enc"],
        b_enc=weights["b_gate"] if config["architecture"] == "gated" else weights["b_enc"],
        W_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        activation=_activation(source, config, weights),
        subtracts_b_dec=config["apply_b_dec_to_input"] and not transcodes,
        norm=config["normalize_activations"],
        centred=bool(kept_kwargs.get("center_writing_weights")) and (metadata.get("hook_name") or named).endswith(CENTRED_HOOKS),
        W_skip=weights["W_skip"].T if "W_skip" in weights else None,
        notes=notes,
    )
    if metadata.get("sums_writes"):
        autoencoder = replace(autoencoder, share=True, notes=(SUMMED, *notes))
    if config["architecture"] == "abstopk":
        autoencoder = with_negative_sides(autoencoder)
    return checked_autoencoder(autoencoder, source, width, d_in)


def _activation(source: str, config: dict[str, Any], weights: dict[str, "torch.Tensor"]) -> Activation:
    if config["architecture"] in TOPK:
        return TopK(whole_number(source, "k", config["k"]))
    if config["architecture"] == "gated":
        gain = weights["r_mag"].exp()
        return Gate(gain, weights["b_mag"] - gain * weights["b_gate"])
    return Threshold(weights["threshold"]) if "threshold" in weights else Threshold()


def _read_folder(source: str) -> tuple[dict[str, Any], dict[str, "torch.Tensor"]]:
    folder = source_folder(source, ("cfg.json", WEIGHTS_FILE), "SAELens")
    config = _current(source, read_config(folder / "cfg.json"))
    weights = read_tensors(folder / WEIGHTS_FILE)
    scaler = read_config(folder / SCALER_FILE) if (folder / SCALER_FILE).is_file() else {}
    if config["normalize_activations"] == "expected_average_only_in" and scaler.get("scaling_factor"):
        fold_scaling_factor(config, weights, float(scaler["scaling_factor"]))
    if config["normalize_activations"] == "covariance_whitening" and scaler.get("has_whitening", True):
        fold_whitening(folder, config, weights)
    if "topk_threshold" in weights and "threshold" not in weights and "b_enc" in weights:
        weights["threshold"] = weights["topk_threshold"] * weights["b_enc"].new_ones(weights["b_enc"].shape)
    fold_decoder_norm_where_asked(config, weights)
    return config, weights


def _download(source: str) -> tuple[dict[str, Any], dict[str, "torch.Tensor"]]:
    try:
        from sae_lens import SAE  # pyright: ignore[reportAttributeAccessIssue] (it looks at this file first)
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    except ImportError as error:
        raise DictionaryError(f"SAE {source!r} is downloaded with the package sae-lens. Run: pip install sae-lens") from error
    directory = get_pretrained_saes_directory()
    if source.strip("/").count("/") == 1 and source.partition("/")[0] not in directory:
        return _read_folder(str(_hub_root(source)))
    release, sae_id = _release_and_id(source, directory)
    try:
        with _downloads_at_the_commit():
            sae = SAE.from_pretrained(release, sae_id, device="cpu")
    except Exception as error:
        raise DictionaryError(f"sae-lens has no SAE {sae_id!r} in release {release!r}, or no network: {error}") from error
    config = _current(source, sae.cfg.to_dict())
    stated = directory[release].expected_l0.get(sae_id) if release in directory else None
    config["metadata"].setdefault("l0", stated or None)
    config["metadata"]["sums_writes"] = _sums_writes(release, directory)
    weights = {name: weight.detach().float() for name, weight in sae.state_dict().items()}
    fold_decoder_norm_where_asked(config, weights)
    return config, weights


@contextmanager
def _downloads_at_the_commit() -> Iterator[None]:
    """A block in which sae-lens reads files at the commit of `read_at`: its own loaders take no revision."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def pinned(ask: Callable[..., Any], repo_id: str, *args: Any, **named: Any) -> Any:
        given = ask(repo_id, *args, **{**named, "revision": named.get("revision") or commit_of(repo_id)})
        refuse_damaged(Path(given))  # an address is no link
        return given

    with ONE_AT_A_TIME:
        plain = {name: getattr(loaders, name) for name in ("hf_hub_download", "hf_hub_url")}
        try:
            for name, ask in plain.items():
                setattr(loaders, name, partial(pinned, ask))
            yield
        finally:
            for name, ask in plain.items():
                setattr(loaders, name, ask)


def repository_of(source: str) -> str | None:
    """Hub repository of "release/sae_id"; None for a source on this machine, and for a release that sae-lens does not list."""
    if is_local(source) or "/" not in source or Path(source).expanduser().exists():
        return None
    try:
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    except ImportError:  # the loader says so
        return None
    releases = get_pretrained_saes_directory()
    release, _ = _release_and_id(source, releases)
    listed = releases.get(release)
    return listed.repo_id if listed else (release if release.count("/") == 1 else None)


def _sums_writes(release: str, releases: Any) -> bool:
    """Whether SAELens makes a release's SAEs of one layer of a cross-layer transcoder each, with the sum of its rows as the decoder."""
    from sae_lens.loading.pretrained_sae_loaders import get_conversion_loader_name

    if release not in releases:
        return False
    return get_conversion_loader_name(release) == "mntss_clt_layer_transcoder"


def _hub_root(source: str) -> Path:
    """The downloaded files of an SAE at the root of a hub repository. Raises `DictionaryError` with both meanings of `source`."""
    files = ("cfg.json", WEIGHTS_FILE, SCALER_FILE, WHITENING_FILE)
    try:
        return downloaded(source, files)
    except DictionaryError as error:
        raise DictionaryError(f"sae-lens lists no release {source.partition('/')[0]!r}, and {error}") from error


def _release_and_id(source: str, releases: Any) -> tuple[str, str]:
    """("release", "sae_id"): a release that sae-lens lists, or else a hub repository, whose name has a slash itself."""
    parts = source.split("/")
    n = 1 if parts[0] in releases else 2
    return "/".join(parts[:n]), "/".join(parts[n:])


def _current(source: str, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration in the terms of SAELens 6, with its defaults filled in, and with `metadata`."""
    held = config.get("metadata") or {}
    if not isinstance(held, dict) or not isinstance(config.get("architecture", ""), str | None):
        raise DictionaryError(f"the cfg.json of SAE {source} has no object as metadata, or no name as architecture. Save it again.")
    config = {**config, "metadata": dict(held)}
    moved = (("hook_point", "hook_name"), ("hook_name",) * 2, ("model_from_pretrained_kwargs",) * 2, ("seqpos_slice",) * 2)
    for old, new in moved:
        if old in config:
            config["metadata"].setdefault(new, config[old])
    config["activation_fn"] = config.get("activation_fn", config.get("activation_fn_str"))
    if config["activation_fn"] == "topk":
        config |= {"architecture": "topk", "k": (config.get("activation_fn_kwargs") or {}).get("k", config.get("k"))}
    norm = config.get("normalize_activations") or "none"
    config["normalize_activations"] = "expected_average_only_in" if norm is True else norm
    config.setdefault("architecture", "standard")
    config.setdefault("apply_b_dec_to_input", True)
    return config


def _refuse_unusable(source: str, config: dict[str, Any], weights: dict[str, "torch.Tensor"]) -> None:
    """Raise `DictionaryError` for an architecture, a normalisation or a set of weights without a formula here."""
    architecture, norm = config["architecture"], config["normalize_activations"]
    if architecture not in WEIGHT_NAMES:
        supported = sorted([*WEIGHT_NAMES, "temporal"])
        raise DictionaryError(f"SAE {source} has architecture {architecture!r}; supported: {supported}.")
    if architecture == "matching_pursuit" and "W_dec" in weights:
        weights["W_enc"] = weights["W_dec"].T
    needed = {*WEIGHT_NAMES[architecture], "W_enc", "W_dec", "b_dec"}
    absent = sorted(needed - set(weights)) + (["k"] * (architecture in TOPK and not config.get("k")))
    if absent:
        raise DictionaryError(f"SAE {source} ({architecture}) lacks {absent} in its configuration or weights. Save it again with SAELens.")
    factor = weights.get("scaling_factor", weights.get("finetuning_scaling_factor"))
    if factor is not None and not bool((factor == 1).all()):
        raise DictionaryError(
            f"SAE {source} has a finetuning scaling_factor other than 1, which is not supported. Fold it and save it again."
        )
    subtracts = config["apply_b_dec_to_input"]
    if not isinstance(subtracts, bool):
        raise DictionaryError(f"SAE {source} has apply_b_dec_to_input {subtracts!r}; it must be true or false. Correct its cfg.json.")
    if norm not in NORMS:
        raise DictionaryError(f"SAE {source} has normalize_activations {norm!r}; supported: {list(NORMS)}{ADVICE.get(str(norm), '')}.")
    if config.get("reshape_activations", "none") not in ("none", "hook_z"):
        raise DictionaryError(f"SAE {source} has reshape_activations {config['reshape_activations']!r}; supported: 'none' and 'hook_z'.")
    shape, stated = tuple(weights["W_enc"].shape), (config.get("d_in"), config.get("d_sae"))
    if shape != stated:
        raise DictionaryError(
            f"SAE {source} has W_enc of shape {shape}, but its cfg.json says d_in, d_sae = {stated}. One of them is wrong."
        )


def _refuse_other_formulas(source: str, config: dict[str, Any]) -> None:
    """Raise `DictionaryError` for an activation function of SAELens before version 6 that is neither relu nor topk."""
    if config["activation_fn"] not in ACTIVATION_FNS:
        raise DictionaryError(
            f"SAE {source} has activation_fn {config['activation_fn']!r}; supported: relu, topk. With another function its activations "
            "would be other numbers: train it with relu or topk, or give its encoder as a function (kind: callable)."
        )


def _trained_on_some_positions(source: str, positions: Any) -> tuple[str, ...]:
    """One note where training used a slice of the positions of a context, [start, end, step], or says what cannot be read as a slice;
    none where it used all."""
    shown, part = positions, positions
    if isinstance(part, str):  # "(5, -5)", "slice(5, None)" or "5:-5", as people write what Python or NumPy shows
        part = [_number(one) for one in re.sub(r"^\s*slice|[()\[\]\s]", "", part).replace(":", ",").split(",") if one]
    if isinstance(part, list | tuple):
        shown, part = (list(part) if positions is part else positions), [None if one == "None" else one for one in part]
    if part in (None, False, [], [0], [None], [None, None], [0, None], [None, None, None], [None, None, 1], [0, None, 1]):
        return ()
    return (
        f"SAE {source} was trained on the positions {shown} of a context alone (seqpos_slice); here all positions are encoded, "
        "and on the other positions its features may mean nothing",
    )


def _number(text: str) -> int | str:
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else text


def clear_hook(hook: str, metadata: dict[str, Any]) -> str:
    """A hook name with one meaning: SAELens calls the input of Gemma's MLP `hook_mlp_in`, TransformerLens the residual before its norm."""
    stated = str(metadata.get("hf_hook_name") or "")
    if hook.endswith("hook_mlp_in") and "layernorm" in stated and stated.endswith((".output", "layernorm")):
        return hook.removesuffix("hook_mlp_in") + "mlp.hook_in"
    return hook


def _refuse_ambiguous_input(source: str, hook: str, metadata: dict[str, Any]) -> None:
    """Refuse a hook name with two meanings, naming the hook that is meant."""
    clear = clear_hook(hook, metadata)
    if clear != hook:
        raise DictionaryError(
            f"SAE {source} reads {metadata['hf_hook_name']}, which is {clear}: {hook} is the residual before that. Name the record's "
            "hook so."
        )
