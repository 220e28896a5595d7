"""Every number a user can change, in frozen classes that refuse unknown keys.

The defaults are those of the papers (methods named in each domain module). A site changes them for all its dictionaries in
`$INTERP_HOME/settings.yaml`; a dictionary's own record overrides them under `stages:`.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from interp_assets.domain.explaining.max_act import ExplainerSettings
from interp_assets.domain.sampling import ExampleSettings
from interp_assets.domain.scoring.classifier import ScorerSettings


class Closed(BaseModel):
    """A settings class: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class UserError(ValueError):
    """A mistake in what the user wrote. The message names the thing, its value, what was allowed and the next step."""


class LanguageModelSettings(Closed):
    """Which model answers, and how it is reached. `options` go to the back end (dtype, base_url, concurrency, …)."""

    backend: Literal["transformers", "vllm", "openai", "scripted", "replay"] = "transformers"
    model: str = "embedded:smollm2-135m-instruct"
    revision: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class HarvestSettings(Closed):
    """How the subject model is run."""

    batch_rows: Annotated[int, Field(ge=1)] = 32
    self_check_rows: Annotated[int, Field(ge=1)] = 16


class StageSettings(Closed):
    """One block per stage of the graph."""

    harvest: HarvestSettings = HarvestSettings()
    examples: ExampleSettings = ExampleSettings()
    explaining: ExplainerSettings = ExplainerSettings()
    scoring: ScorerSettings = ScorerSettings()
    scored_explanations: tuple[str, ...] = ("max_act", "shuffled")
    seed: int = 0


class PlatformSettings(Closed):
    """What `$INTERP_HOME/settings.yaml` may hold. An absent file means these defaults: the embedded model on this machine."""

    explainer: LanguageModelSettings = LanguageModelSettings()
    scorer: LanguageModelSettings = LanguageModelSettings()
    stages: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "PlatformSettings":
        """Settings of a site; defaults when `path` does not exist. Raises `UserError` naming the file and the key."""
        content = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
        settings = validated(cls, content, str(path))
        settings.stage_settings({})
        return settings

    def stage_settings(self, overrides: dict[str, Any]) -> StageSettings:
        """Stage settings of one dictionary: paper defaults, then the site's, then the record's `overrides`."""
        return validated(StageSettings, merged(self.stages, overrides), "stages")


def validated(cls: type, content: Any, where: str) -> Any:
    """`content` as an instance of `cls`; every violation becomes one line of a `UserError`."""
    try:
        return TypeAdapter(cls).validate_python(content)
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in e['loc']) or '(top)'}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
        raise UserError(f"{where} is not valid:\n" + "\n".join(lines)) from None


def merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """`base` with `overrides` laid over it, nested mappings merged key by key."""
    result = dict(base)
    for key, value in overrides.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def fingerprint(*parts: Any) -> str:
    """16 hex digits that change when any of `parts` (settings, strings, numbers, lists) changes."""
    content = json.dumps([TypeAdapter(type(part)).dump_python(part, mode="json") for part in parts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
