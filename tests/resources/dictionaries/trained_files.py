"""The demo's trained SAE written in the layout of every format, with the reference that each is compared with."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interp_assets.config.records import DEMO_FOLDER, EMBEDDED_CORPUS
from resources.dictionaries import Dictionary, load_dictionary
from resources.dictionaries.dictionary_learning import WEIGHT_NAMES
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder

MODEL = "embedded:smollm2-135m-instruct"
HOOK, SAME = "blocks.9.hook_resid_post", "model.layers.9"
"""One value under two names: a transcoder from the first to the second is the SAE."""

K, ROWS, HELD_OUT, CONTEXT = 32, 18, 4, 128
FIXTURES = Path(__file__).parent / "fixtures"
LAYERS = (8, 9)
FITTED = 256
"""Random latents a layer of the multi-layer models, whose decoders are fitted by ridge regression."""


@dataclass(frozen=True)
class Trained:
    """The SAE with its input bias folded: h = x W + b, x̂ = f rows + c; `threshold` makes K of h fire on average. `values` by hook are on
    held-out tokens, `before` on the tokens that decoders are fitted on."""

    W: torch.Tensor
    b: torch.Tensor
    rows: torch.Tensor
    c: torch.Tensor
    threshold: float
    values: dict[str, torch.Tensor] = field(repr=False)
    before: dict[str, torch.Tensor] = field(repr=False)

    @property
    def width(self) -> int:
        return len(self.b)

    @property
    def d(self) -> int:
        return len(self.c)


@dataclass(frozen=True)
class Made:
    """Files on disk: the record to load, and the reference's dense activations of x; or what is `compared` instead: (dictionary, x,
    activations)."""

    record: dict[str, Any]
    answer: Callable[[torch.Tensor], torch.Tensor] = lambda x: x
    compared: tuple[Dictionary, torch.Tensor, torch.Tensor] | None = None
    whole_contexts: bool = False


@dataclass(frozen=True)
class Case:
    """One row: kind, format, and where the reference comes from."""

    kind: str
    what: str
    reference: str
    make: Callable[[Path, Trained], Made]


def trained() -> Trained:
    """The demo's SAE, and activations of its model on packaged text."""
    from interp_assets.domain.features.packing import TokenisedDocument, pack_documents
    from resources.corpus import read_documents
    from resources.corpus.encoding import DocumentEncoder
    from resources.model_provider import RealModels

    models = RealModels()
    tokenizer = models.tokenizer(MODEL, None)
    encode = DocumentEncoder(tokenizer, None)
    documents = (TokenisedDocument(str(i), *encode(one)) for i, one in enumerate(read_documents(EMBEDDED_CORPUS, 0)))
    tokens = np.asarray(pack_documents(documents, CONTEXT, tokenizer.bos_token_id, tokenizer.eos_token_id, ROWS * CONTEXT).token_ids)
    hooks = [HOOK, SAME, *(f"blocks.{n}.{name}" for n in LAYERS for name in ("hook_resid_post", "mlp.hook_in", "hook_mlp_out"))]
    hooks = list(dict.fromkeys([*hooks, *(f"blocks.{n}.mlp.hook_in" for n in range(LAYERS[0]))]))
    subject = models.subject(MODEL, None, "float32", tuple(hooks))
    found = {hook: value.float().cpu() for hook, value in subject.hook_values(tokens, hooks).items()}
    ordinary = torch.from_numpy(~np.isin(tokens, list(subject.special_token_ids)))
    subject.close()
    parts = slice(HELD_OUT), slice(HELD_OUT, None)
    values, before = ({hook: value[part][ordinary[part]] for hook, value in found.items()} for part in parts)
    sae = load_dictionary("sae_lens", str(next((DEMO_FOLDER / "sae").iterdir())))
    assert isinstance(sae, SparseAutoencoder) and sae.norm == "none"
    b = sae.b_enc - sae.b_dec @ sae.W_enc if sae.subtracts_b_dec else sae.b_enc
    hidden = before[HOOK] @ sae.W_enc + b
    threshold = float(hidden.flatten().topk(K * len(hidden)).values[-1])
    return Trained(sae.W_enc.contiguous(), b, sae.W_dec, sae.b_dec, threshold, values, before)


def relu(t: Trained, x: torch.Tensor) -> torch.Tensor:
    """The SAE with its threshold taken from the bias."""
    return (x @ t.W + t.b - t.threshold).relu()


def jump(t: Trained, x: torch.Tensor) -> torch.Tensor:
    hidden = x @ t.W + t.b
    return hidden * (hidden > t.threshold)


def topk(t: Trained, x: torch.Tensor) -> torch.Tensor:
    values, places = (x @ t.W + t.b).topk(K, dim=-1)
    return torch.zeros(len(x), t.width).scatter(1, places, values.relu())


def signed(t: Trained, x: torch.Tensor) -> torch.Tensor:
    """The K largest |h| with their signs."""
    hidden = x @ t.W + t.b
    places = hidden.abs().topk(K, dim=-1).indices
    return torch.zeros_like(hidden).scatter(1, places, hidden.gather(1, places))


def sides(found: torch.Tensor) -> torch.Tensor:
    """Positive and negative sides of signed activations, as features of their own."""
    return torch.cat([found.relu(), (-found).relu()], dim=1)


def ridge(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and bias of y from x by ridge regression."""
    mean, centred = x.mean(0), x - x.mean(0)
    inner = centred.T @ centred + 0.1 * len(x) * torch.eye(x.shape[1])
    rows = torch.linalg.solve(inner, centred.T @ (y - y.mean(0)))
    return rows.contiguous(), y.mean(0) - mean @ rows


def signed_rows(t: Trained) -> dict[str, torch.Tensor]:
    """A decoder for `signed`, as the SAE's own is for positive features alone."""
    rows, c = ridge(signed(t, t.before[HOOK]), t.before[HOOK])
    return {"W_dec": rows, "b_dec": c}


def record_of(folder: Path, **more: Any) -> dict[str, Any]:
    return {"source": str(folder), "hook": HOOK, **more}


def of_sae_lens(
    name: str, weights: Callable[[Trained], dict[str, Any]], transcodes: bool = False, **options: Any
) -> Callable[[Path, Trained], Made]:
    """Written by sae-lens, which answers too."""

    def make(folder: Path, t: Trained) -> Made:
        lens = pytest.importorskip("sae_lens")
        modules = lens.saes.transcoder if transcodes else lens
        fields = {"apply_b_dec_to_input": False, **({"d_out": t.d} if transcodes else {}), **options}
        metadata = lens.saes.sae.SAEMetadata(hook_name=HOOK)
        config = getattr(modules, f"{name}Config")(d_in=t.d, d_sae=t.width, dtype="float32", device="cpu", metadata=metadata, **fields)
        sae = getattr(modules, name)(config)
        for key, value in ({"W_enc": t.W, "b_enc": t.b, "W_dec": t.rows, "b_dec": t.c} | weights(t)).items():
            held = dict(sae.named_parameters()).get(key)
            if held is not None:
                held.data = value.clone()
        sae.save_model(folder)
        theirs = (lens.saes.transcoder.Transcoder if transcodes else lens.SAE).load_from_disk(folder, device="cpu")

        def answer(x: torch.Tensor) -> torch.Tensor:
            if name == "TemporalSAE":
                return theirs.encode(x[None])[0]
            return sides(theirs.encode(x)) if name == "AbsTopKSAE" else theirs.encode(x)

        return Made(record_of(folder, **({"output_hook": SAME} if transcodes else {})), answer, whole_contexts=name == "TemporalSAE")

    return make


def temporal_weights(t: Trained) -> dict[str, Any]:
    """The SAE without its bias, beside an attention that predicts nothing."""
    attention = {
        f"attn_layers.0.{part}.{side}": torch.zeros(shape)
        for part, n in (("k_ctx", t.width // 64), ("q_target", t.width // 64), ("v_ctx", t.width), ("c_proj", t.width))
        for side, shape in (("weight", (n, t.width)), ("bias", (n,)))
    }
    return {"W_enc": t.W * 4 * t.d, **attention}


def of_params(type_: str, written: str | None = None) -> Callable[[Path, Trained], Made]:
    """Gemma Scope's arrays in one file, by its ending."""

    def make(folder: Path, t: Trained) -> Made:
        folder.mkdir(parents=True)
        arrays = {"W_enc": t.W, "b_enc": t.b, "W_dec": t.rows, "b_dec": t.c, "threshold": torch.full((t.width,), t.threshold)}
        if type_ == "npz":
            np.savez(folder / "params.npz", **{name: value.numpy() for name, value in arrays.items()})
        else:
            save_file({name.replace("W_", "w_"): value.contiguous() for name, value in arrays.items()}, folder / "params.safetensors")
        return Made(record_of(folder, **({"output_hook": written} if written else {})), lambda x: jump(t, x))

    return make


def kept(kind: str, folder: str, **record: Any) -> tuple[Dictionary, torch.Tensor, torch.Tensor]:
    """A fixture's dictionary, with the answers that the package gave."""
    expected = load_file(FIXTURES / folder / "expected.safetensors")
    return load_dictionary(kind, str(FIXTURES / folder), **record), expected["x"], expected["encoded"].relu()


def of_sparsify(name: str, **options: Any) -> Callable[[Path, Trained], Made]:
    def make(folder: Path, t: Trained) -> Made:
        folder.mkdir(parents=True)
        transcodes = "transcoder" in name
        config = {
            "k": K,
            "num_latents": t.width,
            "d_in": t.d,
            "activation": "topk",
            "transcode": transcodes,
            "skip_connection": False,
            **options,
        }
        (folder / "cfg.json").write_text(json.dumps(config))
        decoder = signed_rows(t) if options.get("signed") else {"W_dec": t.rows.contiguous(), "b_dec": t.c}
        bias = t.b if transcodes else t.b + decoder["b_dec"] @ t.W
        state = {"encoder.weight": t.W.T.contiguous(), "encoder.bias": bias, **decoder}
        if options.get("skip_connection"):
            state["W_skip"] = torch.zeros(t.d, t.d)
        save_file(state, folder / "sae.safetensors")
        if options.get("signed"):
            return Made(record_of(folder), lambda x: sides(signed(t, x)))
        written = {"output_hook": "blocks.1.hook_mlp_out"} if transcodes else {}
        return Made(
            record_of(folder, **({"output_hook": SAME} if transcodes else {})),
            compared=kept("sparsify", f"sparsify/{name}", hook="blocks.1.mlp.hook_in", **written),
        )

    return make


def of_dictionary_learning(name: str) -> Callable[[Path, Trained], Made]:
    def make(folder: Path, t: Trained) -> Made:
        folder.mkdir(parents=True)
        subtracts = name not in ("AutoEncoderNew", "JumpReluAutoEncoder")
        bias = t.b + t.c @ t.W if subtracts else t.b
        if name in ("AutoEncoder", "AutoEncoderNew"):
            bias = bias - t.threshold
        ours = {"W_enc": t.W, "b_enc": bias, "W_dec": t.rows, "b_dec": t.c, "r_mag": torch.zeros(t.width), "mag_bias": bias}
        ours |= {"threshold": torch.full((t.width,), t.threshold) if name == "JumpReluAutoEncoder" else torch.tensor(t.threshold)}
        if name == "GatedAutoEncoder":
            ours["b_enc"] = bias - t.threshold
        names = WEIGHT_NAMES[name]
        state = {theirs: ours[key].T.contiguous() if theirs.endswith("coder.weight") else ours[key] for key, theirs in names.items()}
        torch.save(state, folder / "ae.pt")
        (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name, "k": K}}))
        return Made(record_of(folder), compared=kept("dictionary_learning", f"dictionary_learning/{name}", hook="blocks.1.hook_resid_post"))

    return make


def of_circuit_tracer(name: str) -> Callable[[Path, Trained], Made]:
    def make(folder: Path, t: Trained) -> Made:
        folder.mkdir(parents=True)
        bias = t.b - t.threshold if name in ("relu", "skip") else t.b
        state = {"W_enc": t.W.T.contiguous(), "b_enc": bias, "W_dec": t.rows.contiguous(), "b_dec": t.c}
        if name == "jumprelu":
            state["activation_function.threshold"] = torch.full((t.width,), t.threshold)
        if name == "skip":
            state["W_skip"] = torch.zeros(t.d, t.d)
        save_file(state, folder / "layer_9.safetensors")
        told = f"activation: topk\nk: {K}\n" if name == "topk" else ""
        (folder / "config.yaml").write_text(
            f"model_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n{told}"
        )
        return Made(
            record_of(folder, output_hook=SAME), compared=kept("circuit_tracer", f"circuit_tracer/{name}", hook="blocks.1.mlp.hook_in")
        )

    return make


def fitted(t: Trained, read: str, written: str) -> list[dict[str, torch.Tensor]]:
    """A layer's random encoder and threshold, and decoders into its own layer and later layers: fitted together, layer by layer."""
    source = torch.Generator().manual_seed(0)
    made: list[dict[str, Any]] = []
    features: list[torch.Tensor] = []
    for layer in LAYERS:
        x = t.before[f"blocks.{layer}.{read}"]
        W = torch.randn(t.d, FITTED, generator=source) / x.norm(dim=-1).median()
        hidden = x @ W
        threshold = float(hidden.flatten().quantile(0.8))
        features.append(hidden * (hidden > threshold))
        made.append({"W": W, "threshold": threshold, "rows": torch.zeros(FITTED, len(LAYERS), t.d)})
    for place, layer in enumerate(LAYERS):
        y = t.before[f"blocks.{layer}.{written}"]
        joint = torch.cat(features[: place + 1], dim=1)
        rows, made[place]["c"] = ridge(joint, y)
        for number, part in enumerate(rows.split(FITTED)):
            made[number]["rows"][:, place] = part
    return made


def of_layers(type_: str, one_layer: bool = False) -> Callable[[Path, Trained], Made]:
    """Gemma Scope 2's multi-layer files, of the two layers."""
    read, written = ("mlp.hook_in", "hook_mlp_out") if type_ == "clt" else ("hook_resid_post", "hook_resid_post")

    def make(folder: Path, t: Trained) -> Made:
        folder.mkdir(parents=True)
        layers = fitted(t, read, written)
        for place, one in enumerate(layers):
            arrays = {
                "w_enc": one["W"],
                "b_enc": torch.zeros(FITTED),
                "threshold": torch.full((FITTED,), one["threshold"]),
                "w_dec": one["rows"],
                "b_dec": one["c"],
            }
            save_file(arrays, folder / f"params_layer_{place}.safetensors")
        told = {"type": type_, "hf_hook_point_in": f"model.layers.{{{','.join(map(str, LAYERS))}}}.output"}
        (folder / "config.json").write_text(json.dumps(told))
        reads = tuple(f"blocks.{layer}.{read}" for layer in LAYERS)

        def answer(x: torch.Tensor) -> torch.Tensor:
            parts = []
            for one, given in zip(layers[1:] if one_layer else layers, x.split(t.d, dim=1), strict=True):
                hidden = given @ one["W"]
                parts.append(hidden * (hidden > one["threshold"]))
            return torch.cat(parts, dim=1)

        return Made({"source": str(folder), "hook": reads[-1 if one_layer else 0], **({} if one_layer else {"reads": reads})}, answer)

    return make


def of_cross_layer(name: str) -> Callable[[Path, Trained], Made]:
    """circuit-tracer's cross-layer transcoder: layers up to the second write nothing but for the two that are fitted."""

    def make(folder: Path, t: Trained) -> Made:
        folder.mkdir(parents=True)
        layers = fitted(t, "mlp.hook_in", "hook_mlp_out")
        n = LAYERS[-1] + 1
        for place, one in zip(LAYERS, layers, strict=True):
            own = {f"W_enc_{place}": one["W"].T.contiguous(), f"b_enc_{place}": torch.zeros(FITTED), f"b_dec_{place}": one["c"]}
            own |= (
                {f"threshold_{place}": torch.full((FITTED,), one["threshold"])}
                if name == "jump_relu"
                else {f"b_enc_{place}": -torch.full((FITTED,), one["threshold"])}
            )
            save_file(own, folder / f"W_enc_{place}.safetensors")
            rows = one["rows"][:, LAYERS.index(place) :].contiguous()
            save_file({f"W_dec_{place}": rows}, folder / f"W_dec_{place}.safetensors")
        for layer in range(LAYERS[0]):
            nothing = {
                f"W_enc_{layer}": torch.zeros(FITTED, t.d),
                f"b_enc_{layer}": torch.zeros(FITTED),
                f"b_dec_{layer}": torch.zeros(t.d),
            }
            nothing |= {f"threshold_{layer}": torch.ones(FITTED)} if name == "jump_relu" else {}
            save_file(nothing, folder / f"W_enc_{layer}.safetensors")
            save_file({f"W_dec_{layer}": torch.zeros(FITTED, n - layer, t.d)}, folder / f"W_dec_{layer}.safetensors")
        (folder / "config.yaml").write_text(
            "model_kind: cross_layer_transcoder\nfeature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n"
        )
        expected = load_file(FIXTURES / "cross_layer" / name / "expected.safetensors")
        reads = tuple(f"blocks.{layer}.mlp.hook_in" for layer in range(3))
        every = load_dictionary("circuit_tracer", str(FIXTURES / "cross_layer" / name), reads[0], reads=reads)
        compared = every, torch.cat(list(expected["x"]), dim=1), torch.cat(list(expected["encoded"]), dim=1)
        hooks = tuple(f"blocks.{layer}.mlp.hook_in" for layer in LAYERS)
        writes = tuple(f"blocks.{layer}.hook_mlp_out" for layer in LAYERS)
        return Made({"source": str(folder), "hook": hooks[0], "reads": hooks, "writes": writes}, compared=compared)

    return make


def of_openmoss(name: str) -> Callable[[Path, Trained], Made]:
    def make(folder: Path, t: Trained) -> Made:
        folder.mkdir(parents=True)
        norm = t.rows.norm(dim=-1)
        stated = {
            "d_model": t.d,
            "d_sae": t.width,
            "hook_point_in": HOOK,
            "hook_point_out": HOOK,
            "top_k": K,
            "norm_activation": "inference",
        }
        if name == "llama_scope":
            (folder / "checkpoints").mkdir()
            norms = {"norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": t.d**0.5, "out": t.d**0.5}}
            (folder / "hyperparams.json").write_text(
                json.dumps(stated | norms | {"jump_relu_threshold": t.threshold, "act_fn": "jumprelu"})
            )
            state = {
                "encoder.weight": t.W.T.contiguous(),
                "encoder.bias": t.b,
                "decoder.weight": t.rows.T.contiguous(),
                "decoder.bias": t.c,
            }
            save_file(state, folder / "checkpoints" / "final.safetensors")
        else:
            (folder / "config.json").write_text(json.dumps(stated | {"sae_type": "sae", "act_fn": name}))
            state = {"W_E": t.W.contiguous(), "b_E": t.b - (t.threshold if name == "relu" else 0), "W_D": t.rows.contiguous(), "b_D": t.c}
            save_file(state, folder / "sae_weights.safetensors")

        def answer(x: torch.Tensor) -> torch.Tensor:
            scaled = (x @ t.W + t.b) * norm
            if name == "llama_scope":
                return scaled / norm * (scaled > t.threshold)
            if name == "relu":
                return relu(t, x)
            values, places = scaled.relu().topk(K, dim=-1)
            return torch.zeros_like(scaled).scatter(1, places, values) / norm

        return Made(record_of(folder), answer)

    return make


def qwen_scope(folder: Path, t: Trained) -> Made:
    folder.mkdir(parents=True)
    torch.save({"W_enc": t.W.T.contiguous(), "b_enc": t.b, "W_dec": t.rows.T.contiguous(), "b_dec": t.c}, folder / "layer9.sae.pt")
    return Made(record_of(folder, k=K), lambda x: topk(t, x))


def goodfire(folder: Path, t: Trained) -> Made:
    folder.mkdir(parents=True)
    state = {
        "encoder_linear.weight": t.W.T,
        "encoder_linear.bias": t.b - t.threshold,
        "decoder_linear.weight": t.rows.T,
        "decoder_linear.bias": t.c,
    }
    torch.save({name: value.contiguous() for name, value in state.items()}, folder / "sae.pth")
    return Made(record_of(folder), lambda x: relu(t, x))


def of_openai(activation: str) -> Callable[[Path, Trained], Made]:
    """ReLU holds the SAE. TopK normalises its input, as which the weights are fitted to the mean and the deviation of all tokens."""

    def make(folder: Path, t: Trained) -> Made:
        folder.mkdir(parents=True)
        x = t.before[HOOK]
        deviation = float(x.std(dim=-1).median()) if activation == "TopK" else 1.0
        c = t.c / deviation
        bias = t.b + t.c @ t.W - (t.threshold if activation == "ReLU" else 0)
        state = {
            "pre_bias": c,
            "latent_bias": bias,
            "encoder.weight": (t.W * deviation).T.contiguous(),
            "decoder.weight": (t.rows / deviation).T.contiguous(),
        }
        more = {"k": K, "postact_fn": "ReLU"} if activation == "TopK" else {}
        torch.save({**state, "activation": activation, "activation_state_dict": more}, folder / "9.pt")

        def answer(x: torch.Tensor) -> torch.Tensor:
            if activation == "ReLU":
                return relu(t, x)
            mean = x.mean(-1, keepdim=True)
            hidden = ((x - mean) / ((x - mean).std(-1, keepdim=True) + 1e-5) - c) @ (t.W * deviation) + bias
            values, places = hidden.topk(K, dim=-1)
            return torch.zeros_like(hidden).scatter(1, places, values.relu())

        return Made(record_of(folder), answer)

    return make


def less(t: Trained) -> dict[str, Any]:
    return {"b_enc": t.b - t.threshold}


def above(t: Trained) -> dict[str, Any]:
    return {"threshold": torch.full((t.width,), t.threshold)}


def gate(t: Trained) -> dict[str, Any]:
    return {"b_gate": t.b - t.threshold, "b_mag": t.b, "r_mag": torch.zeros(t.width)}


def unit_rows(t: Trained) -> dict[str, Any]:
    return {"W_dec": t.rows / t.rows.norm(dim=-1, keepdim=True)}


LENS, FORMULA, KEPT = "sae-lens", "its authors' formula", "its package, kept answers"
TEMPORAL = {"n_heads": 1, "n_attn_layers": 1, "bottleneck_factor": 64, "kval_topk": K, "tied_weights": False, "apply_b_dec_to_input": True}
CASES = (
    Case("sae_lens", "standard", LENS, of_sae_lens("StandardSAE", less)),
    Case("sae_lens", "topk", LENS, of_sae_lens("TopKSAE", lambda t: {}, k=K)),
    Case("sae_lens", "abstopk ¹", LENS, of_sae_lens("AbsTopKSAE", signed_rows, k=K)),
    Case("sae_lens", "jumprelu, batchtopk", LENS, of_sae_lens("JumpReLUSAE", above)),
    Case("sae_lens", "gated", LENS, of_sae_lens("GatedSAE", gate)),
    Case("sae_lens", "matching pursuit", LENS, of_sae_lens("MatchingPursuitSAE", unit_rows, max_iterations=K, apply_b_dec_to_input=True)),
    Case("sae_lens", "temporal", LENS, of_sae_lens("TemporalSAE", temporal_weights, **TEMPORAL)),
    Case("sae_lens", "transcoder", LENS, of_sae_lens("Transcoder", less, True)),
    Case("sae_lens", "jumprelu_transcoder", LENS, of_sae_lens("JumpReLUTranscoder", above, True)),
    Case("gemma_scope", "Gemma Scope", FORMULA, of_params("npz")),
    Case("gemma_scope", "Gemma Scope 2", FORMULA, of_params("safetensors")),
    Case("gemma_scope", "transcoders", FORMULA, of_params("npz", SAME)),
    Case("gemma_scope", "crosscoder, all layers ¹", FORMULA, of_layers("crosscoder")),
    Case("gemma_scope", "crosscoder, one layer ¹", FORMULA, of_layers("crosscoder", True)),
    Case("gemma_scope", "cross-layer transcoder, all layers ¹", FORMULA, of_layers("clt")),
    Case("gemma_scope", "cross-layer transcoder, one layer ¹", FORMULA, of_layers("clt", True)),
    Case("sparsify", "topk", KEPT, of_sparsify("topk")),
    Case("sparsify", "signed topk ¹", FORMULA, of_sparsify("topk", signed=True)),
    Case("sparsify", "groupmax", KEPT, of_sparsify("groupmax", activation="groupmax")),
    Case("sparsify", "transcoder", KEPT, of_sparsify("transcoder")),
    Case("sparsify", "skip transcoder", KEPT, of_sparsify("skip_transcoder", skip_connection=True)),
    *(Case("dictionary_learning", name, KEPT, of_dictionary_learning(name)) for name in WEIGHT_NAMES),
    *(Case("circuit_tracer", f"transcoder set, {name}", KEPT, of_circuit_tracer(name)) for name in ("relu", "jumprelu", "topk", "skip")),
    Case("circuit_tracer", "cross-layer transcoder, relu ¹", KEPT, of_cross_layer("relu")),
    Case("circuit_tracer", "cross-layer transcoder, jumprelu ¹", KEPT, of_cross_layer("jump_relu")),
    Case("openmoss", "Llama Scope", FORMULA, of_openmoss("llama_scope")),
    Case("openmoss", "Llamascopium, topk", FORMULA, of_openmoss("topk")),
    Case("openmoss", "Llamascopium, relu", FORMULA, of_openmoss("relu")),
    Case("qwen_scope", "topk", FORMULA, qwen_scope),
    Case("goodfire", "relu", FORMULA, goodfire),
    Case("openai", "ReLU", FORMULA, of_openai("ReLU")),
    Case("openai", "TopK ²", FORMULA, of_openai("TopK")),
)
