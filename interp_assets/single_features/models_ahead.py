"""The small models of a run of a few features, loaded on another core while the graph is imported and the run is planned.

The two take as long as each other, and together most of the run.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from interp_assets.config.asset_names import is_named
from resources.models_process import BACKEND, ModelsProcess, start_models_process
from resources.quick_imports import without_collecting

if TYPE_CHECKING:
    from interp_assets.config.settings import LanguageModelSettings
    from interp_assets.installation.home import Home


@contextlib.contextmanager
def models_loading_ahead(key: str, only: Sequence[str]) -> Iterator[ModelsProcess | None]:
    """A block beside which a process loads the sentence encoder and a language model of this machine, as far as the settings of a
    dictionary ask them, by an asset that `only` names if it names any; None where the process has nothing to load. The process ends with
    the block at the latest."""
    process = start_models_process()  # before anything is known: to import the settings takes a third of its imports
    try:
        if process is not None:
            with without_collecting():
                from interp_assets.installation.home import Home

                home = Home.from_environment()
                encoder, model = asks_the_encoder(home, key, only), local_language_model(home, key, only)
            if model is not None:
                process.load_language_model(model.model, model.revision, model.options)
            if encoder:
                process.load_encoder(home.settings.sentence_encoder.source, home.settings.sentence_encoder.revision)
            if model is None and not encoder:
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
    return any(not only or is_named(name, only) for name in asking)


def local_language_model(home: "Home", key: str, only: Sequence[str]) -> "LanguageModelSettings | None":
    """The first language model on this machine that an explainer or a scorer of a dictionary asks, among the assets `only` if there are
    any."""
    from interp_assets.config.settings import LanguageModelSettings
    from interp_assets.domain.explaining import EXPLAINERS
    from interp_assets.domain.scoring import SCORERS

    settings = home.settings
    stages = settings.stage_settings(home.registry.get(key).stages)
    asked = [(f"explanations/{one.NAME}", settings.explainer) for one in EXPLAINERS if one.NAME in stages.explanations]
    for scorer in SCORERS:
        model = settings.model_of(scorer.MODEL)
        if isinstance(model, LanguageModelSettings) and stages.scored(scorer):
            asked.append((f"scores/{scorer.NAME}", model))
    return next((model for name, model in asked if model.backend == BACKEND and (not only or is_named(name, only))), None)
