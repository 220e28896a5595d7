"""The subject model: the language model whose features are explained. It runs only to the deepest hook that is asked for."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from resources.language_models.interface import ModelIdentity
from resources.model_loading import context_limit, load_text_model, long_context_message
from resources.subject.block_layout import BlockLayout, block_layouts, first_tensor, given_tensor
from resources.subject.block_paths import KNOWN, NoBlocks, blocks_path
from resources.subject.hook_points import (
    BLOCKS,
    ContextTooLong,
    HookPoint,
    UnknownHook,
    block_hook_names,
    family,
    final_norm_path,
    hooks_of_block,
    is_block_hook,
    resolve_found_hook,
    resolve_hook,
    stream_route,
)
from resources.subject.normalization import float32_copy, is_normalization, normalized
from resources.subject.output_path import output_path
from resources.subject.unembedding import Unembedding, in_order, into_stream
from resources.weights import ModelFolder, load_hf_tokenizer, resolve_model_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from resources.dictionaries.interface import Dictionary

__all__ = ["SparseBatch", "SubjectModel", "UnknownHook", "tensor_cores_for"]


@dataclass(frozen=True)
class SparseBatch:
    """The activations of one dictionary on consecutive rows; zeros are not stored.

    All four arrays are [n] and sorted by (row, position): row uint32 counts from the start of the harvest, position uint16 within the row,
    feature uint32, value float32 > 0. Once this batch is taken, `rows_done` rows are finished for this dictionary.
    """

    name: str
    row: np.ndarray
    position: np.ndarray
    feature: np.ndarray
    value: np.ndarray
    rows_done: int


class _DeepestHookReached(Exception):
    """Raised inside the forward pass to end it: deeper layers are not needed."""


class SubjectModel:
    """A causal language model with named hook points, its tokenizer and its identity. Make one with `SubjectModel.load`."""

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: ModelFolder) -> None:
        import torch

        self.model = model
        self.tokenizer = tokenizer
        self.folder = folder
        self._modules: dict[str, Any] = {path: module for path, module in model.named_modules() if path}
        self._layouts: list[BlockLayout] | None = None
        self._block_paths: tuple[str, ...] | None = None
        self._batch_shape = torch.Size((0, 0))
        self.context_limit = context_limit(model.config)
        model.get_input_embeddings().register_forward_pre_hook(self._note_shape, with_kwargs=True)

    def _note_shape(self, _module: Any, args: tuple, named: dict) -> None:
        self._batch_shape = (args[0] if args else named["input"]).shape

    @classmethod
    def load(
        cls,
        source: str,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        hooks: Sequence[str] | None = None,
    ) -> "SubjectModel":
        """The model at `source` (see `resolve_model_folder`), in evaluation mode, without gradients.

        `device` is "cuda" where CUDA is available, else "cpu"; `dtype` is "bfloat16" on a GPU and "float32" on a CPU, where bfloat16 is
        slower. With `hooks` only the blocks up to the deepest hook are loaded: enough for `hook_values` and `sparse_activations` at these
        hooks, and for nothing else. Raises `WeightsError` for a source or revision that does not exist.
        """
        folder = resolve_model_folder(source, revision)
        return cls(load_text_model(folder, device, dtype, hooks), load_hf_tokenizer(folder), folder)

    @property
    def identity(self) -> ModelIdentity:
        """The identity of the weights; the numeric type is a part of it, since it changes the values."""
        return ModelIdentity("subject", self.folder.source, f"{self.folder.revision}-{str(self.model.dtype).removeprefix('torch.')}")

    @property
    def device(self) -> "torch.device":
        """The device of token ids and of used values: the first device of a model that is spread over several devices."""
        placed = getattr(self.model, "hf_device_map", None)
        if not placed or len(set(placed.values())) == 1:
            return self.model.device
        import torch

        return torch.device(next((place for place in placed.values() if place not in ("cpu", "disk")), "cpu"))

    @property
    def family(self) -> str:
        """The model type, with a suffix where one type has two layouts of blocks (`resources.subject.hook_points.family`)."""
        return family(self.model.config)

    @property
    def block_paths(self) -> tuple[str, ...]:
        """Module paths of the loaded blocks, shallow to deep; empty for a model without a single list of blocks."""
        if self._block_paths is None:
            try:
                path = BLOCKS[self.family][0].rsplit(".", 1)[0] if self.family in BLOCKS else blocks_path(self.model)
                self._block_paths = tuple(f"{path}.{n}" for n in range(len(self._modules[path])))
            except NoBlocks:
                self._block_paths = ()
        return self._block_paths

    @property
    def n_blocks(self) -> int:
        """All blocks of the model, loaded or not."""
        n_blocks = int(self.model.config.get_text_config().num_hidden_layers)
        return n_blocks if self.family in BLOCKS or KNOWN in self.model.__dict__ else len(self.block_paths) or n_blocks

    @property
    def batch_shape(self) -> "torch.Size":
        """[rows, tokens] of the present pass, or of the last pass."""
        return self._batch_shape

    @property
    def bos_token_id(self) -> int | None:
        """The token that begins every row; None for a model without such a token."""
        return cast("int | None", self.tokenizer.bos_token_id)

    @property
    def eos_token_id(self) -> int | None:
        return cast("int | None", self.tokenizer.eos_token_id)

    @property
    def special_token_ids(self) -> frozenset[int]:
        """Tokens whose activations are left out (they stay in the input)."""
        return frozenset(self.tokenizer.all_special_ids)

    def close(self) -> None:
        """Free the weights. The model cannot be used afterwards."""
        import gc

        import torch

        self._modules.clear()
        del self.model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def layouts(self) -> list[BlockLayout]:
        """The layout of each loaded block, found by one short pass at the first call."""
        if self._layouts is None:
            self._layouts = block_layouts(self.model, self.block_paths)
        return self._layouts

    def hook_names(self) -> tuple[str, ...]:
        """All "blocks.N.<hook>" names, shallow to deep; module paths are legal too."""
        if self.family in BLOCKS:
            return block_hook_names(self.family, self.n_blocks)
        return tuple(f"blocks.{n}.{hook}" for n, layout in enumerate(self.layouts()) for hook in layout.hooks)

    def hooks_of(self, number: int) -> dict[str, str]:
        """Hook -> module path of one block, with ":input" or ":normalized" for values other than the output."""
        if self.family in BLOCKS:
            return hooks_of_block(self.family, number)
        joined = {hook: f"{self.block_paths[number]}.{place}" for hook, place in self.layouts()[number].hooks.items()}
        return {hook: place.replace(".:", ":").rstrip(".") for hook, place in joined.items()}

    def resolve_hook(self, name: str) -> HookPoint:
        """The hook point of `name`. Raises `UnknownHook` with the nearest names."""
        if is_block_hook(name) and self.family not in BLOCKS and self.block_paths:
            return resolve_found_hook(name, self.family, self.layouts(), self.block_paths)
        return resolve_hook(name, self.family, self.n_blocks, self._modules)

    def unembedding(self, final_norm: bool = True) -> Unembedding | None:
        """The map from the residual stream to the vocabulary, with or without the normalisation before it.

        None for a model in which the map is not found: no list of blocks, no unembedding, or more than modules and constants in between.
        """
        path, layer = final_norm_path(self.family), self.model.get_output_embeddings()
        if path is not None and layer is not None:
            norm = float32_copy(self._modules[path]) if final_norm else None
            return Unembedding(layer.weight, getattr(layer, "bias", None) if final_norm else None, norm)
        found = output_path(self.model, self.block_paths[-1]) if self.block_paths else None
        if found is None or layer is None:
            return None
        # A projection is no normalisation: without it a direction would not fit the unembedding.
        kept = [module for module in found.modules if final_norm or not is_normalization(module)]
        bias = getattr(layer, "bias", None) if final_norm else None
        return Unembedding(layer.weight, bias, in_order(kept, found.before) if kept or found.before != 1 else None, found.after)

    def residual_directions(self, hook: str, rows: "torch.Tensor") -> "torch.Tensor | None":
        """float32 Tensor[n, d_model]: what rows, Tensor[n, d] of values at `hook`, add to the residual stream.

        At hooks of the stream, and of values that are added to it, these are the rows themselves. At `mlp.hook_post` rows are multiplied by
        the down projection, at `attn.hook_z` by the output projection, without biases. Gemma 2 and 3 normalise that product before they add
        it, which is not linear: the gain is applied; the division by a length that depends on all neurons at once, a positive factor, is
        left out. None where there is no such map (`stream_route`), and for rows of another width than the map takes.
        """
        route = stream_route(self.resolve_hook(hook), (self.hooks_of(n) for n in range(len(self.block_paths))))
        if route is None:
            return None
        layer, norm = (None if path is None else self._modules[path] for path in (route.projection, route.norm))
        directions = into_stream(rows.to(self.device), layer, norm)
        d_model = self.model.config.get_text_config().hidden_size
        return directions if directions is not None and directions.shape[1] == d_model else None

    def hook_values(self, token_ids: np.ndarray, hooks: Sequence[str]) -> dict[str, "torch.Tensor"]:
        """Hook name -> Tensor[rows, ctx, d] on the model's device, from one forward pass that ends at the deepest hook.

        `token_ids` is an integer array [rows, ctx] without padding. Without hooks the result is empty and nothing runs. Raises
        `ContextTooLong`, and `UnknownHook` for a hook whose value is not one vector a token.
        """
        import torch

        if not hooks:
            return {}
        self.refuse_long_context(np.shape(token_ids)[1])
        values: dict[str, torch.Tensor] = {}
        ids = torch.as_tensor(np.asarray(token_ids, dtype=np.int64))
        if self.device.type == "cuda":
            ids = ids.pin_memory().to(self.device, non_blocking=True)
        points = {name: self.resolve_hook(name) for name in hooks}
        with torch.inference_mode(), self._captured(points, values), suppress(_DeepestHookReached):
            self.model(input_ids=ids, use_cache=False)
        if missing := sorted(set(hooks) - set(values)):
            raise UnknownHook(f"hooks {missing} are never reached when this {self.family} model reads a text. Name another module.")
        return {name: self._per_token(name, value, ids.shape) for name, value in values.items()}

    def refuse_long_context(self, tokens: int) -> None:
        """Raise `ContextTooLong` with both numbers where the model reads fewer tokens."""
        if self.context_limit is not None and tokens > self.context_limit:
            raise ContextTooLong(long_context_message(self.folder.source, tokens, self.context_limit))

    def refuse_long_completion(self, prompt_tokens: int, new_tokens: int) -> None:
        """Raise `ContextTooLong` with all numbers where the model does not read a prompt and all but the last token of a completion."""
        read = prompt_tokens + max(new_tokens - 1, 0)
        if self.context_limit is not None and read > self.context_limit:
            raise ContextTooLong(
                f"a prompt of {prompt_tokens} tokens that goes on for {new_tokens} has {read} tokens to read, but {self.folder.source} "
                f"reads at most {self.context_limit}. Shorten the prompt, or let it go on for fewer tokens (steering.max_new_tokens)."
            )

    def _per_token(self, name: str, value: Any, shape: "torch.Size") -> "torch.Tensor":
        """The value as Tensor[rows, ctx, d] on the model's first device."""
        import torch

        if isinstance(value, torch.Tensor) and value.ndim == 2 and len(value) == shape.numel():
            value = value.view(*shape, -1)
        if not isinstance(value, torch.Tensor) or value.ndim != 3 or value.shape[:2] != shape or not value.is_floating_point():
            what = f"a {type(value).__name__}" if not isinstance(value, torch.Tensor) else f"{list(value.shape)}, {value.dtype}"
            raise UnknownHook(
                f"hook {name} of this {self.family} model gives {what} for {list(shape)} tokens, not [rows, tokens, width]: it has no one "
                "vector a token that a dictionary could read. Name another module, or the input or output of a block."
            )
        return value.to(self.device)

    def sparse_activations(
        self,
        rows: np.ndarray,
        dictionaries: Mapping[str, "Dictionary"],
        features: Mapping[str, np.ndarray | None] | None = None,
        batch_rows: int = 16,
        first_row: int = 0,
        first_values: "Mapping[str, torch.Tensor] | None" = None,
    ) -> Generator[SparseBatch, None, None]:
        """Activations > 0 of every dictionary on token rows [n, ctx], one `SparseBatch` a dictionary and batch of rows, in row order.

        One forward pass serves all dictionaries and ends at the deepest hook. Encoding is in float32; on a GPU, after a model in bfloat16,
        its products are in TF32 (`tensor_cores_for`). `features[name]` keeps only these features (None, or no entry: all). Special tokens
        stay in the input and are left out of the output. `first_row` skips finished rows; row numbers count from the start of `rows`.
        `first_values` are `hook_values` of the first rows, if known: where they are one batch from row 0, it needs no pass of its own.
        Raises `UnknownHook`, and `DictionaryError` when a hook has another dimension.
        """
        import torch

        from resources.dictionaries.interface import read_hooks, side_by_side

        rows = np.asarray(rows)
        assert rows.ndim == 2 and rows.shape[1] <= 1 << 16, f"rows must be [n, ctx] with ctx up to 65,536, got {rows.shape}"
        hooks = sorted({hook for dictionary in dictionaries.values() for hook in read_hooks(dictionary)})
        on_device = {name: dictionary.to(self.device) for name, dictionary in dictionaries.items()}
        kept = {name: self._feature_mask(on_device[name], (features or {}).get(name)) for name in dictionaries}
        special = np.fromiter(self.special_token_ids, dtype=np.int64)
        for start in range(first_row, len(rows), batch_rows):
            batch = rows[start : start + batch_rows]
            ordinary = np.flatnonzero(~np.isin(batch.reshape(-1), special))
            index = torch.from_numpy(ordinary).to(self.device)
            known = first_values if start == 0 and first_values else {}
            if all(hook in known and len(known[hook]) == len(batch) for hook in hooks):
                values = {hook: known[hook] for hook in hooks}
            else:
                values = self.hook_values(batch, hooks)
            with torch.inference_mode():
                inputs = {hook: value.flatten(0, 1)[index] for hook, value in values.items()}
                # Every dictionary is encoded before the first result is copied, so that the copies overlap the encoding on a GPU.
                found = {
                    name: _encode_contexts(d, values[d.hook], kept[name], index)
                    if getattr(d, "whole_contexts", False)
                    else _encode_kept(d, side_by_side(read_hooks(d), inputs), kept[name], index)
                    for name, d in on_device.items()
                }
                host = {name: [_to_host(tensor) for tensor in tensors] for name, tensors in found.items()}
            if self.device.type == "cuda":
                torch.cuda.current_stream(self.device).synchronize()
            for name, (place, feature, value) in host.items():
                _refuse_not_finite(name, batch, place.numpy(), feature.numpy(), value.numpy(), start)
                yield _sparse_batch(name, place.numpy(), feature.numpy(), value.numpy(), rows.shape[1], start, start + len(batch))

    def _feature_mask(self, dictionary: "Dictionary", selected: np.ndarray | None) -> "torch.Tensor | None":
        """Bool Tensor[width] on the device, or None for all features."""
        import torch

        if selected is None:
            return None
        selected = np.asarray(selected, dtype=np.int64)
        outside = selected[(selected < 0) | (selected >= dictionary.width)]
        assert not len(outside), f"features {outside[:5].tolist()} are outside 0..{dictionary.width - 1}"
        mask = torch.zeros(dictionary.width, dtype=torch.bool)
        mask[torch.from_numpy(selected)] = True
        return mask.to(self.device)

    @contextmanager
    def _captured(self, points: Mapping[str, HookPoint], values: dict[str, "torch.Tensor"]) -> Iterator[None]:
        """While open, the first tensor at each point is put into `values`; the forward pass ends when all points are reached."""
        import torch

        def keep(name: str, value: Any) -> None:
            values[name] = first_tensor(value)
            if len(values) == len(points):
                raise _DeepestHookReached
            if isinstance(values[name], torch.Tensor):
                values[name] = values[name].clone()  # the model goes on, and some families add to their outputs in place

        def watch(name: str, point: HookPoint) -> Any:
            module = self._modules[point.module]
            if point.side == "output":
                return module.register_forward_hook(lambda _module, _inputs, output: keep(name, output))

            def keep_input(module: Any, inputs: tuple, named: dict) -> None:
                value = given_tensor(inputs, named)[1]
                keep(name, normalized(module, value) if point.side == "normalized" else value)

            return module.register_forward_pre_hook(keep_input, with_kwargs=True)

        handles = [watch(name, point) for name, point in points.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def tensor_cores_for(x: "torch.Tensor") -> Iterator[None]:
    """While open, a GPU takes float32 products in TF32 where `x` is bfloat16; nothing changes on a CPU or for another `x`.

    TF32 keeps 11 significant bits of the factors and sums in float32, at several times the speed. Values that a model has computed in
    bfloat16 have 8 significant bits: the activations that TF32 adds or takes away are a twentieth of the activations that bfloat16 adds or
    takes away, or fewer (`benchmarks/precision.py`). In a float16 model TF32 could lose bits: its values have 11.
    """
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    if x.device.type == "cuda" and x.dtype == torch.bfloat16:
        matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _encode_kept(
    dictionary: "Dictionary", x: "torch.Tensor", mask: "torch.Tensor | None", index: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """(place in the flattened batch, feature, value) of the activations on ordinary tokens, selected features only."""
    from resources.dictionaries.interface import refuse_wrong_width

    refuse_wrong_width(dictionary, x.shape[-1])
    with tensor_cores_for(x):
        encoded = dictionary.encode(x)
    place, feature, value = index[encoded.token], encoded.feature, encoded.value
    if mask is None:
        return place, feature, value
    keep = mask[feature].nonzero().squeeze(1)  # indices once: a mask would be counted, and a GPU waited for, three times
    return place[keep], feature[keep], value[keep]


def _encode_contexts(
    dictionary: "Dictionary", x: "torch.Tensor", mask: "torch.Tensor | None", index: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """As `_encode_kept`, of a dictionary that reads whole contexts Tensor[rows, context, d]: special tokens are read, and not returned."""
    import torch

    everything = torch.arange(x.shape[0] * x.shape[1], device=x.device)
    place, feature, value = _encode_kept(dictionary, x, mask, everything)
    keep = torch.isin(place, index).nonzero().squeeze(1)
    return place[keep], feature[keep], value[keep]


def _to_host(tensor: "torch.Tensor") -> "torch.Tensor":
    """The tensor on the CPU. From a GPU the copy is asynchronous into pinned memory: synchronise before reading it."""
    import torch

    if tensor.device.type != "cuda":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _refuse_not_finite(name: str, rows: np.ndarray, place: np.ndarray, feature: np.ndarray, value: np.ndarray, first_row: int) -> None:
    """Raise `DictionaryError` naming the first NaN or infinite activation, and the number of such activations in the batch."""
    wrong = np.flatnonzero(~np.isfinite(value))
    if not len(wrong):
        return
    from resources.dictionaries.interface import UNSOUND, DictionaryError

    row, position = divmod(int(place[wrong[0]]), rows.shape[1])
    raise DictionaryError(
        f"dictionary {name}: feature {int(feature[wrong[0]])} has activation {float(value[wrong[0]])} on token {int(rows[row, position])} "
        f"(context {first_row + row}, position {position}), one of {len(wrong):,} such activations in {len(rows)} contexts; all must be "
        f"finite. {UNSOUND}."
    )


def _sparse_batch(
    name: str, place: np.ndarray, feature: np.ndarray, value: np.ndarray, context: int, first_row: int, rows_done: int
) -> SparseBatch:
    row, position = np.divmod(place, context)
    return SparseBatch(
        name=name,
        row=(row + first_row).astype(np.uint32),
        position=position.astype(np.uint16),
        feature=feature.astype(np.uint32),
        value=value.astype(np.float32),
        rows_done=rows_done,
    )
