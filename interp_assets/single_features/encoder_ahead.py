"""The sentence encoder of a run of a few features, loaded on another core while the graph is imported and the run is planned.

The two take as long as each other, and together most of the run.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from resources.encoder_process import EncoderProcess, start_encoder_process
from resources.quick_imports import without_collecting

if TYPE_CHECKING:
    from interp_assets.installation.home import Home


@contextlib.contextmanager
def encoder_loading_ahead(key: str, only: Sequence[str]) -> Iterator[EncoderProcess | None]:
    """A block beside which a process loads the sentence encoder, where the settings of a dictionary ask the encoder and `only` names an
    asset that does; None elsewhere. The process ends with the block at the latest."""
    process = start_encoder_process()  # before anything is known: to import the settings takes a third of its imports
    try:
        if process is not None:
            with without_collecting():
                from interp_assets.installation.home import Home

                home = Home.from_environment()
                asks = asks_the_encoder(home, key, only)
            if asks:
                process.load(home.settings.sentence_encoder.source, home.settings.sentence_encoder.revision)
            else:
                process.close()
                process = None
        yield process
    finally:
        if process is not None:
            process.close()


def asks_the_encoder(home: "Home", key: str, only: Sequence[str]) -> bool:
    """Whether an explainer or a scorer of a dictionary asks the sentence encoder, among the assets `only` if there are any."""
    from interp_assets.domain.explaining import EXPLAINERS
    from interp_assets.domain.scoring import SCORERS

    stages = home.settings.stage_settings(home.registry.get(key).stages)
    asking = [f"explanations/{one.NAME}" for one in EXPLAINERS if one.CHOOSES and one.NAME in stages.explanations]
    asking += [f"scores/{one.NAME}" for one in SCORERS if one.MODEL == "encoder" and stages.scored(one)]
    return any(not only or name in only for name in asking)
