"""The outputs that a dictionary on its model will not have, and the reasons: told at registration."""

from typing import Any

from resources.dictionaries import DictionaryError, NoDecoder, rows_by_hook, written_hooks


def known_before_loading(source: str, revision: str | None) -> bool:
    """Whether the place of the unembedding follows from the model's family: if so, the model is loaded only as deep as the hooks."""
    from resources.model_loading import read_config
    from resources.subject.hook_points import BLOCKS, family
    from resources.weights import resolve_model_folder

    return family(read_config(resolve_model_folder(source, revision))) in BLOCKS


def missing_outputs(subject: Any, dictionary: Any) -> list[str]:
    """One sentence for each output that this dictionary will not have; empty for a dictionary with all outputs."""
    from resources.subject.hook_edits import all_written_points
    from resources.subject.hook_points import BLOCKS

    try:
        rows = dictionary.decoder_row(0)[None]
    except NoDecoder:
        return ["no vocabulary projections, token changes and steering: the dictionary has no decoder"]
    found = []
    if subject.family not in BLOCKS and subject.unembedding() is None:
        found.append(f"no vocabulary projections: no way from the residual stream to the logits was found in this {subject.family} model")
    else:
        parts = zip(written_hooks(dictionary), rows_by_hook(dictionary, rows), strict=True)
        changed = [hook for hook, part in parts if subject.residual_directions(hook, part) is None]
        if changed:
            found.append(f"no vocabulary projections: values at {changed[0]} are changed on the way into the stream")
    try:
        all_written_points(subject, written_hooks(dictionary))
    except DictionaryError as error:
        found.append(f"no token changes and steering: {error}")
    if getattr(dictionary, "whole_contexts", False):
        found.append("no zero-ablation: features depend on earlier tokens; for steering, set steering.zero_ablation to false")
    return found
