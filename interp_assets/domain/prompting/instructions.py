"""The instructions of every method that asks a language model: files of `domain/prompts`, which a site may replace.

A file holds a text with placeholders in braces, such as `{tag}`; a brace of the text itself is doubled. The settings of a method hold the
text that replaces the file's text, so that this text alone makes the method's results stale.
"""

import hashlib
import json
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from interp_assets.domain.bounds import ADDED_LATER
from interp_assets.domain.prompting.tagged_explanation import EXPLANATION_TAG

FOLDER = Path(__file__).parent.parent / "prompts"
TAG = "tag"


@dataclass(frozen=True, kw_only=True)
class Instructed:
    """Settings of a method that gives instructions to a language model."""

    instructions: Annotated[str | None, ADDED_LATER] = field(default=None)
    """Instructions in place of the packaged ones; see `interp prompts show`. None means the site's file `prompts/<name>.md` or, without it,
    the packaged instructions."""


@dataclass(frozen=True)
class NamedPrompt:
    """Instructions that can be replaced: `block` and `method` name the settings that hold them, in `setting`, and `packaged` their file."""

    block: Literal["explaining", "scoring"]
    method: str
    packaged: str
    setting: str = "instructions"

    @property
    def text(self) -> str:
        """The packaged text."""
        return packaged_text(self.packaged)

    @property
    def asset(self) -> str:
        """The asset whose questions begin with the instructions."""
        return f"{'explanations' if self.block == 'explaining' else 'scores'}/{self.method}"

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The placeholders that the text may have, in the packaged text's order."""
        return tuple(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(self.text) if name is not None))


def _own(block: Literal["explaining", "scoring"], *methods: str) -> dict[str, NamedPrompt]:
    return {method: NamedPrompt(block, method, method) for method in methods}


PROMPTS: Mapping[str, NamedPrompt] = MappingProxyType(
    {
        **_own("explaining", "max_act", "max_act_cot", "contrastive", "single_token", "vocab_proj", "token_change", "intervention"),
        **_own("explaining", "ensemble_raw", "pattern"),
        "candidates": NamedPrompt("explaining", "candidates", "max_act"),
        **_own("scoring", "detection", "fuzzing", "simulation", "surprisal", "intruder", "discrimination", "input_based", "clarity"),
        **_own("scoring", "output_based", "sensitivity"),
        "simulation_json": NamedPrompt("scoring", "simulation", "simulation_json", "json_instructions"),
        "input_based_silent": NamedPrompt("scoring", "input_based", "input_based_silent", "silent_instructions"),
        "intervention_scorer": NamedPrompt("scoring", "intervention", "intervention_scorer"),
        **{method: NamedPrompt("scoring", method, "rating") for method in ("responsiveness", "purity", "faithfulness")},
    }
)
"""Every prompt by its name, which is the name of its file in a site's folder `prompts`."""
OWN_TEXTS = tuple(dict.fromkeys(prompt.setting for prompt in PROMPTS.values()))
"""The settings that hold instructions."""


@cache
def packaged_text(name: str) -> str:
    """The text of a file of `domain/prompts`, read once."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8").removesuffix("\n")


def instructions(packaged: str, own: str | None, **values: str | int) -> str:
    """The packaged instructions, or `own` in their place, with the values of the placeholders filled in."""
    return (packaged_text(packaged) if own is None else own).format(**values)


def prompt_version(version: str, settings: object) -> str:
    """The version of a method's prompt: the method's own, followed by a fingerprint of the instructions that its settings replace."""
    replaced = {name: text for name in OWN_TEXTS if (text := getattr(settings, name, None)) is not None}
    if not replaced:
        return version
    return f"{version}+{hashlib.sha256(json.dumps(replaced, sort_keys=True).encode()).hexdigest()[:8]}"


def refuse_bad_instructions(name: str, text: str) -> None:
    """Raise ValueError for instructions that cannot take the place of the prompt `name`: an empty text, a brace that is no placeholder, an
    unknown placeholder, or an explainer's instructions that do not ask for the tag of the explanation."""
    known = PROMPTS[name].placeholders
    listed = f"known are {', '.join(f'{{{one}}}' for one in known)}" if known else "this prompt has no placeholders"
    if not text.strip():
        raise ValueError("the text is empty; to have the packaged instructions again, leave it out")
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{error}: write a brace of the text itself twice, as {{{{ or }}}}; {listed}") from None
    for _, placeholder, form, conversion in parts:
        if placeholder is not None and (placeholder not in known or form or conversion):
            written = placeholder + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(f"unknown placeholder {{{written[:60]}}}; {listed}. A brace of the text itself is written twice, as {{{{")
    if TAG in known and EXPLANATION_TAG not in text and TAG not in [placeholder for _, placeholder, _, _ in parts]:
        raise ValueError(f"the text does not ask for a line that begins with {{{TAG}}}, by which the explanation is found in the reply")
