"""Loads a text model: the class that runs it, an attention that drops no mechanism of its family, and the device of each weight.

    config.json ─▶ model without weights ─▶ blocks that are needed, device of each ─▶ weights read straight to their devices

A checkpoint is first built without weights, which says its class, its blocks and its size. `attention_for` leaves fused attention aside
where it would drop a mechanism. Of a model that is read up to a block, neither the deeper blocks nor the unembedding are loaded.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resources.checkpoint_files import instead_of_weights
from resources.checkpoint_folder import holds_file
from resources.model_checks import refuse_other_files, refuse_unsound_weights
from resources.quick_imports import import_transformers, without_collecting
from resources.subject.block_paths import KNOWN, blocks_path, deepest_block
from resources.subject.hook_points import ContextTooLong
from resources.weights import ModelFolder, WeightsError, resolve_model_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

FILL_OF_A_CARD = 0.9
"""Share of a card's free memory that the weights may take; a larger model is spread over all cards."""

SOFT_CAPS_OF_ATTENTION = ("attn_logit_softcapping",)
"""Entries of a configuration that bound attention logits. The `sdpa` attention of transformers silently ignores these bounds."""

SEEN_AHEAD = ("paligemma",)
"""Model types that, for text without an image, attend to later tokens under `sdpa`, but not under eager attention."""


def import_generation() -> None:
    """Import torch, and the models, the generation and the losses of transformers without scikit-learn and SciPy.

    Where they are installed, transformers imports them, with pandas, for a way of assisted decoding and for losses of object detection,
    which nothing here uses: nearly half of the time that the first model of a process takes.
    """
    import_transformers()
    from transformers import utils

    unused = ("is_sklearn_available", "is_scipy_available")
    own = {name: getattr(utils, name) for name in unused}
    for name in unused:
        setattr(utils, name, lambda: False)
    try:
        with without_collecting():
            import torch  # noqa: F401
            import transformers.generation.candidate_generator
            import transformers.loss.loss_utils
            import transformers.modeling_utils
            import transformers.models.auto.modeling_auto  # noqa: F401
    finally:
        for name, is_available in own.items():
            setattr(utils, name, is_available)


def load_text_model(
    folder: ModelFolder,
    device: str | None = None,
    dtype: str | None = None,
    hooks: Sequence[str] | None = None,
    max_memory: "dict[int | str, int | str] | None" = None,
) -> "PreTrainedModel":
    """The model in `folder`, in evaluation mode, without gradients.

    `device` is "cuda" where CUDA is available, else "cpu"; `dtype` is "bfloat16" on a GPU and "float32" on a CPU, where bfloat16 is slower.
    With `hooks` only the blocks up to the deepest hook are loaded: such a model cannot run beyond these hooks. A model larger than the
    GPU's memory is spread over all GPUs and, where they do not suffice, the machine's memory; `max_memory` (bytes by GPU, "cpu") bounds
    each share. Raises `WeightsError`.
    """
    import_generation()  # before torch and the classes, which would import it otherwise
    import torch
    from safetensors import SafetensorError
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    number_type = getattr(torch, dtype or ("bfloat16" if device.startswith("cuda") else "float32"))
    hub = {"revision": folder.revision} if folder.hub_id else {}
    config = read_config(folder)
    refuse_unknown_quantisation(config, folder.source)
    empty = empty_model(config, folder.source)
    refuse_other_files(folder, empty, quantised=quantisation_of(config) is not None)
    cls = _class_up_to(type(empty), None if hooks is None else deepest_block(hooks, blocks_path(empty)))
    options = {"attn_implementation": attention_for(empty.config), "max_memory": max_memory}
    try:
        model, report = cls.from_pretrained(
            folder.location, config=empty.config, dtype=number_type, output_loading_info=True,
            device_map=_placement(cls, empty.config, device, number_type, max_memory),
            **{name: value for name, value in options.items() if value is not None}, **hub,
        )  # fmt: skip
    except ImportError as error:
        raise WeightsError(_without_package(folder.source, config, error)) from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"the weights of {folder.source} cannot be read: {_one_line(error)}. The files are damaged, or not all there: "
            + ("copy them again." if folder.path is not None else "remove them from the hub's cache, and they are downloaded again.")
        ) from error
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # code of a quantiser, and of pickles, which raise whatever they like
        if isinstance(error, ValueError) and "requires `accelerate`" in str(error):
            raise WeightsError(_without_package(folder.source, config, error)) from error
        if (method := quantisation_of(config)) is None:
            raise WeightsError(_does_not_load(folder.source, error)) from error
        raise WeightsError(
            f"{folder.source} is quantised ({method}) and does not load here: {_one_line(error)} Take the checkpoint that is not quantised."
        ) from error
    refuse_missing_weights(report["missing_keys"], folder.source)
    refuse_unsound_weights(model, folder.source)
    model.__class__ = type(empty)
    return model.requires_grad_(False).eval()


def read_config(folder: ModelFolder) -> "PreTrainedConfig":
    """The configuration in `folder`. Raises `WeightsError` for a model type that the installed transformers does not know."""
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(folder.location, **({"revision": folder.revision} if folder.hub_id else {}))
    except Exception as error:  # a validator's own errors, and Python's for content of another shape
        if folder.path is not None and (instead := instead_of_weights(folder.path / "config.json")) is not None:
            raise WeightsError(f"{folder.path / 'config.json'} is no configuration: {instead}. Copy or download it again.") from error
        if folder.path is None and not holds_file(folder, "config.json"):
            raise WeightsError(
                f"the hub's cache has no config.json of {folder.source} at commit {folder.revision[:12]}, and the hub has none or cannot "
                "be reached. Check the network, or download the model again."
            ) from error
        raise WeightsError(
            f"transformers {transformers.__version__} does not read the configuration of {folder.source}: "
            f"{str(error).strip().partition(chr(10))[0]}. "
            "Upgrade transformers, or take a checkpoint in its format."
        ) from error


def quantisation_of(config: "PreTrainedConfig") -> str | None:
    """The method by which a checkpoint is quantised, "unknown" where it names none; None for a checkpoint that is not quantised."""
    quantised = getattr(config, "quantization_config", None) or getattr(config.get_text_config(), "quantization_config", None)
    if not quantised:
        return None
    method = quantised.get("quant_method") if isinstance(quantised, dict) else getattr(quantised, "quant_method", None)
    if method is None and isinstance(quantised, dict) and (quantised.get("load_in_4bit") or quantised.get("load_in_8bit")):
        return "bitsandbytes"
    return str(getattr(method, "value", method) or "unknown")


def refuse_unknown_quantisation(config: "PreTrainedConfig", source: str) -> None:
    """Raise `WeightsError` for a method that transformers does not know: it would read the packed numbers as the weights themselves."""
    import transformers
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    method = quantisation_of(config)
    if method is not None and method != "bitsandbytes" and method not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        raise WeightsError(
            f"{source} is quantised by a method ({method}) that transformers {transformers.__version__} does not know. It knows "
            f"{', '.join(sorted(AUTO_QUANTIZATION_CONFIG_MAPPING))}. Take the checkpoint that is not quantised."
        )


def empty_model(config: "PreTrainedConfig", source: str) -> "PreTrainedModel":
    """The model of a configuration without weights: a causal language model, or else a multimodal model of which the text part is run.

    Raises `WeightsError` for encoders, encoder-decoders and models without text.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM

    kind = f"{source} is a {config.model_type} model"
    if getattr(config, "is_encoder_decoder", False):
        raise WeightsError(
            f"{kind}, an encoder with a decoder: hooks are on models that only go on from a text. Choose a causal language model."
        )
    if _reads_both_ways(config):
        raise WeightsError(f"{kind}, an encoder that reads its text both ways. Choose a causal language model.")
    for family in (AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM):
        if type(config) in family._model_mapping:
            with torch.device("meta"):
                try:
                    return family.from_config(config)
                except ImportError as error:
                    raise WeightsError(f"{kind}, which needs a package that is not installed: {_one_line(error)}") from error
                except Exception as error:
                    raise WeightsError(
                        f"{kind}, and no model can be made by its config.json ({type(error).__name__}: {_one_line(error)}). Copy or "
                        "download the configuration again."
                    ) from error
    raise WeightsError(
        f"{kind}, of which transformers has no causal language model. docs/model-families.md lists the families that work; "
        "for a multimodal model, save its text model on its own and give that folder."
    )


def _reads_both_ways(config: "PreTrainedConfig") -> bool:
    from transformers import AutoModelForMaskedLM

    both_ways = type(config) in AutoModelForMaskedLM._model_mapping or config.model_type in ("bert-generation", "xlnet")
    return both_ways and not getattr(config, "is_decoder", False)


def attention_for(config: "PreTrainedConfig") -> str | None:
    """The attention implementation that a configuration needs: "eager" where `sdpa` would drop a soft cap or the causal mask.

    None for the fastest implementation that the family's own code allows; families with attention sinks or ALiBi do not offer `sdpa`
    themselves.
    """
    text = config.get_text_config()
    capped = any(getattr(text, name, None) for name in SOFT_CAPS_OF_ATTENTION)
    return "eager" if capped or config.model_type in SEEN_AHEAD else None


def refuse_missing_weights(missing: "set[str] | list[str]", source: str) -> None:
    """Raise `WeightsError` where the files lack weights of the model: transformers would draw them at random."""
    if missing:
        first = ", ".join(sorted(missing)[:3])
        raise WeightsError(
            f"the files of {source} lack {len(missing)} of the model's weights (such as {first}), which "
            "would be random numbers. The checkpoint is incomplete or of another architecture than its config.json says."
        )


def context_limit(config: "PreTrainedConfig") -> int | None:
    """Most tokens that the model reads: the size of its table of positions, or the length for which its rotary positions are made, with
    scaling.

    None for a model without a limit: ALiBi, recurrent models, relative positions.
    """
    text = config.get_text_config()
    if _positions_are_unlimited(text):
        return None
    lengths = (
        getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length")
    )
    limit = next((int(length) for length in lengths if isinstance(length, int) and length > 0), None)
    return limit if limit is None else max([limit, *(_stretched(rope, limit) for rope in _rope_parameters(text))])


def refuse_long_context(source: str, revision: str | None, tokens: int) -> None:
    """Raise `ContextTooLong` with both numbers where the model at `source` reads fewer tokens; only its configuration is read."""
    limit = context_limit(read_config(resolve_model_folder(source, revision)))
    if limit is not None and tokens > limit:
        raise ContextTooLong(long_context_message(source, tokens, limit))


def long_context_message(source: str, tokens: int, limit: int) -> str:
    """The message for a context longer than its model reads."""
    return f"a context has {tokens} tokens, but {source} reads at most {limit}. Set token_sample.context_tokens to {limit} or less."


def _positions_are_unlimited(text: "PreTrainedConfig") -> bool:
    """Whether no part of the model depends on a token's distance from the beginning."""
    if text.model_type in ("bloom", "mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm", "recurrent_gemma", "xlnet", "nemotron_h"):
        return True
    return text.model_type == "falcon" and bool(getattr(text, "alibi", False))


def _rope_parameters(text: "PreTrainedConfig") -> list[dict[str, Any]]:
    """The rotary settings of a configuration: one set, or one set for each type of layers."""
    found = getattr(text, "rope_parameters", None) or {}
    return [found] if "rope_type" in found else [entry for entry in found.values() if isinstance(entry, dict)]


def _stretched(rope: dict[str, Any], limit: int) -> int:
    """Tokens that scaled rotary positions reach. For all other types `max_position_embeddings` is the stretched length already."""
    if rope.get("rope_type") not in ("linear", "dynamic", "yarn"):
        return limit
    return int(float(rope.get("factor") or 1) * (rope.get("original_max_position_embeddings") or limit))


def _class_up_to(cls: type, last: int | None) -> type:
    """A class like `cls` for models with only the blocks up to `last` and without an unembedding; `cls` itself for None."""
    if last is None:
        return cls
    import torch

    def initialise(self: Any, *args: Any, **named: Any) -> None:
        cls.__init__(self, *args, **named)  # type: ignore[misc]
        setattr(self, KNOWN, blocks_path(self))
        del self.get_submodule(blocks_path(self))[last + 1 :]
        head, embedding = self.get_output_embeddings(), self.get_input_embeddings()
        tied = getattr(self.config.get_text_config(), "tie_word_embeddings", False) or head is embedding
        if head is not None and not tied:
            self.set_submodule(next(name for name, module in self.named_modules() if module is head), torch.nn.Identity())
        held = {name for name, _ in (*self.named_parameters(remove_duplicate=False), *self.named_buffers(remove_duplicate=False))}
        self.all_tied_weights_keys = {to: of for to, of in self.all_tied_weights_keys.items() if to in held and of in held}

    return type(cls.__name__, (cls,), {"__init__": initialise, "__module__": cls.__module__, "_keys_to_ignore_on_load_unexpected": [".*"]})


def _placement(
    cls: type, config: "PreTrainedConfig", device: str, number_type: "torch.dtype", max_memory: "dict[int | str, int | str] | None"
) -> "str | dict[str, str]":
    """`device_map` of `from_pretrained`: everything on `device`, or "auto" for a model that does not fit on one GPU."""
    import torch

    if max_memory is not None:
        return "auto"
    if not device.startswith("cuda"):
        return {"": device}
    with torch.device("meta"):
        model = cls._from_config(config)  # type: ignore[attr-defined]
    size = number_type.itemsize * sum(weight.numel() for weight in model.parameters())
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return "auto" if size > FILL_OF_A_CARD * free else {"": device}


def _without_package(source: str, config: "PreTrainedConfig", error: Exception) -> str:
    """The message for a checkpoint whose loading needs a further package."""
    method = quantisation_of(config)
    otherwise = ", or take the checkpoint that is not quantised" if method is not None else ""
    kind = f"is quantised ({method}) and" if method is not None else "does not load:"
    return f"{source} {kind} needs a package: {_one_line(error)} Install it{otherwise}."


def _does_not_load(source: str, error: Exception) -> str:
    """The message for files that transformers does not load, whatever it raised."""
    if "mismatched_sizes" in str(error):
        return f"the weights of {source} have other shapes than its config.json says. Files of two checkpoints are mixed: copy them again."
    if type(error).__name__ == "UnpicklingError":
        return f"the weights of {source} hold code or objects, which are not run, or are cut short. Save them again as safetensors."
    return f"the weights of {source} do not load ({type(error).__name__}: {_one_line(error)[:300]}). Copy or download them again."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
