"""Checks of a checkpoint that loads without an error and would be another model: packed numbers, further blocks, adapters, NaN."""

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from resources.checkpoint_files import TensorHeader, blocks_in, instead_of_weights, packed_weight, tensor_headers, weight_files
from resources.checkpoint_folder import checkpoint_folder
from resources.subject.block_paths import NoBlocks, blocks_path
from resources.weights import ModelFolder, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def refuse_other_files(folder: ModelFolder, empty: "PreTrainedModel", quantised: bool) -> None:
    """Raise `WeightsError` where a checkpoint's files hold packed numbers or more blocks than its config.json says: transformers would
    take packed numbers for the weights, and leave further blocks out. The weights of a hub id are downloaded for it."""
    place = checkpoint_folder(folder)
    if place is None:
        return
    weights = [name for name, weight in empty.named_parameters() if weight.dtype.is_floating_point]
    headers = refuse_odd_files(folder.source, place, quantised, weights)
    try:
        path = blocks_path(empty)
    except NoBlocks:
        return
    there, stated = blocks_in(headers, path), len(empty.get_submodule(path))  # type: ignore[arg-type]
    more = getattr(empty.config.get_text_config(), "num_nextn_predict_layers", None) or 0
    if there > stated + more:
        raise WeightsError(
            f"the files of {folder.source} hold {there} blocks, and its config.json says {stated}: the model would lack its last blocks. "
            "Copy the configuration again."
        )


def refuse_odd_files(source: str, place: Path, quantised: bool, weights: Collection[str] | None = None) -> dict[str, TensorHeader]:
    """The tensors in a folder's files. Raises `WeightsError` for a file that holds no weights, for packed numbers in the place of the
    `weights` (by default of all weights) of a model that is not quantised, and for an adapter."""
    files = weight_files(place)
    if odd := next((f"{path}: {instead}" for path in files if (instead := instead_of_weights(path)) is not None), None):
        raise WeightsError(f"the weights of {source} cannot be read: {odd}. Copy or download it again.")
    headers = tensor_headers(files)
    if weights is None:
        weights = [name for name in headers if name.endswith(".weight")]
    if not quantised and (packed := packed_weight(headers, weights)) is not None:
        raise WeightsError(
            f"the files of {source} hold packed numbers ({packed}), and its config.json has no quantization_config. They would be "
            "taken for the weights themselves. Copy the configuration again, or take the checkpoint that is not quantised."
        )
    adapted = next((name for name in headers if ".lora_" in name), None)
    if adapted or (adapted := next((one.name for one in place.glob("adapter_model.*")), None)):
        raise WeightsError(
            f"{source} holds an adapter beside the model ({adapted}), which would be left out or loaded as the installed packages "
            "have it. Merge it (merge_and_unload of peft) and save the model, or take the adapter's files away."
        )
    return headers


def refuse_unsound_weights(model: "PreTrainedModel", source: str) -> None:
    """Raise `WeightsError` for weights with NaN or infinities: every later number would be NaN, and a judge's replies would be nonsense.

    Tensors of quantisers that know no sum are not looked at.
    """
    import torch

    sums: dict[torch.device, dict[str, torch.Tensor]] = {}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dtype.is_floating_point and weight.element_size() > 1 and not weight.is_meta:
                with contextlib.suppress(NotImplementedError):
                    sums.setdefault(weight.device, {})[name] = weight.sum(dtype=torch.float32 if weight.element_size() < 8 else None)
    for by_name in sums.values():
        finite = torch.stack([one.float() for one in by_name.values()]).isfinite().tolist()
        odd = [name for name, sound in zip(by_name, finite, strict=True) if not sound]
        if odd:
            raise WeightsError(
                f"{len(odd)} weights of {source} (such as {odd[0]}) hold NaN or infinite numbers: the training diverged, or the files are "
                "damaged. Take another checkpoint, or copy it again."
            )
