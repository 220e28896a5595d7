"""Stopwatches on the models of a process: for `benchmarks/overheads.py`, which imports this module before `interp` begins.

A stopwatch is set as the module of its model is imported, so that nothing is imported earlier than without stopwatches. A process that has
asked a model leaves `<its id>.json` in $OVERHEADS_FOLDER at its end: for each model [calls, seconds, CPU seconds], the time to load models,
and the CPU seconds of the process. Seconds of models in a process of their own are the seconds that we wait for them.
"""

import atexit
import importlib.util
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

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
    ("model", "resources.subject.model", "SubjectModel", "hook_values"),
    ("model", "resources.subject.model", "", "_encode_kept"),
    ("judge", "resources.language_models.transformers_local.model", "TransformersModel", "ask"),
    ("judge", "resources.models_process", "ModelsProcess", "replies"),
    ("encoder", "resources.sentence_encoder", "TransformersEncoder", "embed"),
    ("encoder", "resources.models_process", "ModelsProcess", "embed"),
    ("load", "resources.model_provider", "RealModels", "subject"),
    ("load", "resources.model_provider", "RealModels", "language_model"),
    ("load", "resources.model_provider", "RealModels", "dictionary"),
    ("load", "resources.model_provider", "RealModels", "tokenizer"),
    ("load", "resources.sentence_encoder", "TransformersEncoder", "_model"),
    ("load", "resources.models_process", "ModelsProcess", "loaded_language_model"),
)
"""What is counted, and the module, the class ("" for none) and the function that does it."""


class _Stopwatches:
    """Finds the modules of WATCHED as Python does, and sets their stopwatches once they are imported."""

    def __init__(self) -> None:
        self._found: set[str] = set()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of a watched module; None for any other."""
        if name in self._found or not any(name == module for _, module, _, _ in WATCHED):
            return None
        self._found.add(name)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None, name
        execute = spec.loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            for counted, _, owner, function in (one for one in WATCHED if one[1] == name):
                holder = getattr(module, owner) if owner else module
                setattr(holder, function, timed(counted, getattr(holder, function)))

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Stopwatches())  # type: ignore[arg-type]
atexit.register(_write)
