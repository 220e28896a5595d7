"""The graph as Dagster loads it, with a stopwatch on each model: for `benchmarks/overheads.py`, which starts Dagster on this module.

A process that has asked a model leaves `<its id>.json` in $OVERHEADS_FOLDER at its end: for each model [calls, seconds, CPU seconds], the
time to load models, and the CPU seconds of the process.
"""

import atexit
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import resources.subject.model as subject_model
from interp_assets.definitions import defs
from resources.encoder_process import EncoderProcess
from resources.language_models.transformers_local.model import TransformersModel
from resources.model_provider import RealModels
from resources.sentence_encoder import TransformersEncoder

__all__ = ["defs"]

taken: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
under_way: list[str] = []


def _stop(name: str, started: tuple[float, float]) -> None:
    """Count the time since `started`, unless another model's time is under way."""
    under_way.pop()
    if not under_way:
        one = taken[name]
        one[:] = [one[0] + 1, one[1] + time.perf_counter() - started[0], one[2] + time.process_time() - started[1]]


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its time counted as `name`; of a generator the time in which it works."""

    def stepwise(steps: Iterator[Any]) -> Iterator[Any]:
        while True:
            under_way.append(name)
            started = time.perf_counter(), time.process_time()
            try:
                step = next(steps)
            except StopIteration:
                return
            finally:
                _stop(name, started)
            yield step

    @wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        under_way.append(name)
        started = time.perf_counter(), time.process_time()
        try:
            found = function(*arguments, **options)
        finally:
            _stop(name, started)
        return stepwise(found) if isinstance(found, Iterator) else found

    return called


def _write() -> None:
    folder = os.environ.get("OVERHEADS_FOLDER")
    if taken and folder:
        content = {"models": taken, "process": time.process_time()}
        Path(folder, f"{os.getpid()}.json").write_text(json.dumps(content))


WATCHED = (
    ("model", subject_model.SubjectModel, "hook_values"),
    ("model", subject_model, "_encode_kept"),
    ("judge", TransformersModel, "ask"),
    ("encoder", TransformersEncoder, "embed"),
    ("encoder", EncoderProcess, "embed"),
    ("load", RealModels, "subject"),
    ("load", RealModels, "language_model"),
    ("load", RealModels, "dictionary"),
    ("load", RealModels, "tokenizer"),
    ("load", TransformersEncoder, "_model"),
)
for name, owner, function in WATCHED:
    setattr(owner, function, timed(name, getattr(owner, function)))
atexit.register(_write)
