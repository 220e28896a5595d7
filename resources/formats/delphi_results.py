"""A delphi run's results, one file a feature: its explanation, and a judge's verdict on each window under each scorer.

    explanations/layers.9_latent7.txt        "words for cats"
    scores/detection/layers.9_latent7.txt    [{"str_tokens": ["The", " cat"], "activations": [0.0, 2.5], "distance": 0, "activating": true,
                                               "prediction": true, "probability": 0.9, "correct": true}, …]
    exported/layers.9.json                   what was exported: only in folders written here

File names have `--` for a slash in a hook point's name, as in delphi's scores. `distance` is the decile of an activating
window (0 = strongest) and -1 for a silent window. It is null where the decile is not known; a missing answer is null too.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path
from typing import Any

from resources.formats.interface import BadRow, ExchangeError, StatedExplanation, stated_explanation
from resources.store.whole_files import write_whole

NOT_ACTIVATING = -1
NO_EXPLANATION = ("Explanation could not be parsed.", "No explanation found")
"""Texts that delphi writes, and scores, in the place of a missing explanation."""

_FILE_NAME = re.compile(r"(.+)_latent(0|[1-9]\d*)\.txt")


@dataclass(frozen=True)
class JudgedWindow:
    """One window under a yes-or-no scorer, in the fields of delphi and their order."""

    str_tokens: list[str]
    activations: list[float]
    distance: int | None
    activating: bool
    prediction: bool | None
    probability: float | None
    correct: bool | None


def judged_window(
    tokens: list[str], activations: list[float], stratum: int | None, truth: bool, prediction: bool | None, probability: float | None
) -> JudgedWindow:
    """The window of one graded answer; `correct` is null where there was no answer."""
    distance = stratum if truth else NOT_ACTIVATING
    return JudgedWindow(tokens, activations, distance, truth, prediction, probability, None if prediction is None else prediction == truth)


class ResultsFolder:
    """The results of one hook point in a folder, which may hold results of other hook points too. Every file appears whole or not at all.

    An interrupted export continues: existing files are kept. That is safe because `exported/<hook point>.json` names their origin, and an
    export of another origin is refused.
    """

    def __init__(self, folder: Path, hookpoint: str, provenance: Mapping[str, Any]) -> None:
        """Begin or continue an export.

        Raises `ExchangeError` where the folder has results of this hook point from another origin. Also raises where delphi would mix up
        results of two hook points: it looks for a hook point's name anywhere in a file's name.
        """
        self.folder, self._module = folder, _file_module(hookpoint)
        mine = folder / "exported" / f"{self._module}.json"
        files = (path for pattern in ("explanations/*.txt", "scores/*/*.txt") for path in folder.glob(pattern))
        others = {name[1] for path in files if (name := _FILE_NAME.fullmatch(path.name))}
        if mine.exists():
            if (found := json.loads(mine.read_text(encoding="utf-8"))) != dict(provenance):
                raise ExchangeError(
                    f"{folder} has results of {hookpoint} from another export ({found}, this one is {dict(provenance)}). Name another "
                    "folder, or delete it first."
                )
        elif self._module in others:
            raise ExchangeError(f"{folder} has results of {hookpoint} that were not exported from here. Name another folder.")
        if mixed := sorted(other for other in others - {self._module} if other in self._module or self._module in other):
            raise ExchangeError(
                f"{folder} has results of {mixed[0]}, and delphi would mix them with results of {hookpoint}: one name is part of the "
                "other. Name another folder, or another hook point: --hookpoint NAME"
            )
        write_whole(mine, json.dumps(dict(provenance), indent=4))

    def write_explanation(self, feature: int, text: str) -> bool:
        """Write the explanation of one feature. Returns whether the file was written; False where it existed."""
        return self._write("explanations", feature, text)

    def write_scores(self, scorer: str, feature: int, windows: Iterable[JudgedWindow]) -> bool:
        """Write the windows of one feature under one of delphi's scorers. Returns whether the file was written; False where it existed."""
        return self._write(f"scores/{scorer}", feature, [asdict(window) for window in windows])

    def _write(self, kind: str, feature: int, content: Any) -> bool:
        path = self.folder / kind / f"{self._module}_latent{feature}.txt"
        if path.exists():
            return False
        write_whole(path, json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
        return True


def has_explanations(folder: Path) -> bool:
    """Whether a folder is the folder of a run with explanations, or its folder of explanations."""
    return any(_FILE_NAME.fullmatch(path.name) for path in _explanations(folder).glob("*_latent*.txt"))


def explanation_files(folder: Path, hookpoint: str | None) -> tuple[Path, ...]:
    """The explanations of one hook point by feature, in a run's folder or in its folder of explanations.

    `hookpoint` may be None where the run has only one hook point. Raises `ExchangeError` listing the hook points that exist.
    """
    found: dict[str, dict[int, Path]] = {}
    for path in _explanations(folder).glob("*_latent*.txt" if hookpoint is None else f"{escape(_file_module(hookpoint))}_latent*.txt"):
        if name := _FILE_NAME.fullmatch(path.name):
            found.setdefault(name[1], {})[int(name[2])] = path
    if hookpoint is not None:
        found = {module: files for module, files in found.items() if module == _file_module(hookpoint)}
    if len(found) != 1:
        there = ", ".join(sorted({name[1] for path in _explanations(folder).glob("*.txt") if (name := _FILE_NAME.fullmatch(path.name))}))
        raise ExchangeError(
            f"{folder} has no single hook point {hookpoint or '(none was named)'} with explanations; it has {there or 'none'}. Name one: "
            "--hookpoint NAME"
        )
    (files,) = found.values()
    return tuple(files[feature] for feature in sorted(files))


def read_explanations(files: Iterable[Path], width: int) -> Iterator[StatedExplanation | BadRow]:
    """Every explanation in the order of `files`. A file is bad where it is not one JSON text, or says that there is no explanation."""
    for path in files:
        name = _FILE_NAME.fullmatch(path.name)
        assert name, path
        try:
            text = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            yield BadRow(str(path), f"not a text in JSON: {error}")
            continue
        if text in NO_EXPLANATION:
            yield BadRow(str(path), f"feature {name[2]} has none: delphi wrote {text!r}")
        else:
            yield stated_explanation(str(path), name[2], text, width)


def _explanations(folder: Path) -> Path:
    return folder / "explanations" if (folder / "explanations").is_dir() else folder


def _file_module(hookpoint: str) -> str:
    return hookpoint.replace("/", "--")
