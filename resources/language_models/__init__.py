"""The language models: explainer, scorer, judge and generator, through one interface. Load each by `load_language_model`."""

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

from resources.language_models.interface import LanguageModel

BACK_ENDS = ("transformers", "vllm", "openai", "replay")


def load_language_model(backend: str, *, model: str, revision: str | None = None, **options: Any) -> LanguageModel:
    """The model behind a back end; `options` are constructor arguments of the back end.

    Raises ValueError for an unknown back end or option, listing the known ones, and ImportError with the install command.
    """
    if backend not in BACK_ENDS:
        raise ValueError(f"there is no back end {backend!r} to load; back ends are {', '.join(BACK_ENDS)} ")
    try:
        if backend == "transformers":
            from resources.language_models.transformers_local.model import TransformersModel as Model
        elif backend == "vllm":
            from resources.language_models.vllm_engine.model import VLLMModel as Model
        elif backend == "replay":
            from resources.language_models.replay import ReplayModel as Model
        else:
            from resources.language_models.openai_server.model import OpenAIModel as Model
        _refuse_unknown(backend, Model, options)
        return Model(model=model, revision=revision, **options)
    except ImportError as error:
        extra = {"vllm": 'pip install "interp-assets[gpu]"'}.get(backend, "pip install interp-assets")
        raise ImportError(f"the {backend} back end is not installed ({error}). Install it: {extra}") from error
    except TypeError as error:
        raise ValueError(f"options of the {backend} back end: {error}. Correct `options` in settings.yaml.") from error


def _refuse_unknown(backend: str, model: type, options: Iterable[str]) -> None:
    """Raise ValueError naming the options that a back end does not have, with the nearest option or all of them."""
    known = [name for name in inspect.signature(model).parameters if name not in ("model", "revision")]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.55)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
            raise ValueError(f"options of the {backend} back end: there is no option {name!r}; {hint} Correct `options` in settings.yaml.")
