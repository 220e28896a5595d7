"""Checks of a checkpoint that an engine such as vLLM reads by itself, before the engine starts."""

from resources.checkpoint_folder import checkpoint_folder, holds_file
from resources.model_checks import refuse_odd_files, refuse_other_files
from resources.weights import ModelFolder, WeightsError

NOTE_OF_QUANTISER = "hf_quant_config.json"
"""File beside config.json in which ModelOpt says how the numbers are packed. vLLM reads it, and transformers does not."""
READS_FILES = (None, "auto", "hf", "safetensors", "pt", "npcache", "fastsafetensors", "runai_streamer")
"""Load formats of vLLM that read the checkpoint's own files."""


def refuse_for_engine(folder: ModelFolder, quantisation: str | None = None, load_format: str | None = None) -> None:
    """Raise `WeightsError` for files that an engine would take for another model: packed numbers that nothing announces, more blocks than
    config.json says, an adapter beside the model, pointers of Git LFS, and damaged files of the hub's cache.

    `quantisation` is the method that the engine is told. A model that transformers has no class of is checked by its files alone.
    """
    from resources.model_loading import empty_model, quantisation_of, read_config

    place = checkpoint_folder(folder) if load_format in READS_FILES else None
    if place is None:
        return
    quantised = quantisation is not None or holds_file(folder, NOTE_OF_QUANTISER)
    try:
        config = read_config(folder)
        empty = empty_model(config, folder.source)
    except WeightsError:
        refuse_odd_files(folder.source, place, quantised)
        return
    refuse_other_files(folder, empty, quantised or quantisation_of(config) is not None)
