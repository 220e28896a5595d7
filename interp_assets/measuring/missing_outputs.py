"""The outputs that a dictionary on its model will not have, and the reasons: told at registration."""

from typing import Any

from resources.dictionaries import DictionaryError, NoDecoder


def known_before_loading(source: str, revision: str | None) -> bool:
    """Whether the place of the unembedding follows from the model's family: if so, the model is loaded only as deep as the hooks."""
    from resources.model_loading import read_config
    from resources.subject.hook_points import BLOCKS, family
    from resources.weights import resolve_model_folder

    return family(read_config(resolve_model_folder(source, revision))) in BLOCKS


def missing_outputs(subject: Any, dictionary: Any) -> list[str]:
    """One sentence for each output that this dictionary will not have; empty for a dictionary with all outputs."""
    from resources.subject.hook_edits import written_points
    from resources.subject.hook_points import BLOCKS

    try:
        rows = dictionary.decoder_row(0)[None]
    except NoDecoder:
        return ["no vocabulary projections, token changes and steering: the dictionary has no decoder"]
    found = []
    if subject.family not in BLOCKS and subject.unembedding() is None:
        found.append(f"no vocabulary projections: no way from the residual stream to the logits was found in this {subject.family} model")
    elif subject.residual_directions(dictionary.output_hook, rows) is None:
        found.append(f"no vocabulary projections: values at {dictionary.output_hook} are changed on the way into the stream")
    try:
        written_points(subject, dictionary.output_hook)
    except DictionaryError as error:
        found.append(f"no token changes and steering: {error}")
    return found
