"""Prompts as files: packaged texts, a site's own, and the data versions of what they change."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from interp_assets.cli.main import app
from interp_assets.config.base import UserError, fingerprint
from interp_assets.config.settings import PlatformSettings
from interp_assets.domain.explaining import METHODS
from interp_assets.domain.prompting.instructions import FOLDER, PROMPTS, instructions, prompt_version, refuse_bad_instructions
from interp_assets.domain.scoring import SCORERS
from interp_assets.graph.assembly import RANGE_STAGES

ALL = {
    "explanations": list(METHODS),
    "scores": {scorer.NAME: "all" for scorer in SCORERS},
    "steering": {"enabled": True},
    "examples": {"n_validation": 30},
}
TEXT = "Read the texts.{strengths} Answer on one line after {tag}."


def versions(home: Path) -> dict[str, str]:
    """The fingerprint of the settings of each range stage, with every stage asked for."""
    platform = PlatformSettings.read(home / "settings.yaml")
    stages = platform.stage_settings(ALL)
    return {stage.asset: fingerprint(stage.settings_of(stages, platform)) for stage in RANGE_STAGES}


def prompt_file(home: Path, name: str, text: str) -> None:
    (home / "prompts").mkdir(exist_ok=True)
    (home / "prompts" / f"{name}.md").write_text(text)


@pytest.mark.parametrize("name", PROMPTS)
def test_a_replaced_prompt_changes_its_own_asset_alone(tmp_path: Path, name: str) -> None:
    before = versions(tmp_path)
    prompt = PROMPTS[name]
    prompt_file(tmp_path, name, f"{prompt.text} Mind the spelling.\n")
    after = versions(tmp_path)
    assert {asset for asset in before if before[asset] != after[asset]} == {prompt.asset}
    own = getattr(getattr(PlatformSettings.read(tmp_path / "settings.yaml").stage_settings({}), prompt.block), prompt.method)
    assert getattr(own, prompt.setting) == f"{prompt.text} Mind the spelling."
    assert prompt_version("v/1", own).startswith("v/1+") and prompt_version("v/1", object()) == "v/1"


def test_every_packaged_text_is_legal_and_used() -> None:
    assert {prompt.packaged for prompt in PROMPTS.values()} == {file.stem for file in FOLDER.glob("*.md")}
    for name, prompt in PROMPTS.items():
        refuse_bad_instructions(name, prompt.text)


def test_placeholders_are_filled_in() -> None:
    assert instructions("max_act", TEXT, strengths=" S.", tag="T") == "Read the texts. S. Answer on one line after T."
    assert instructions("detection", "a {{brace}}") == "a {brace}"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("max_act", "Answer after {tag} with {label}.", r"unknown placeholder \{label\}; known are \{strengths\}, \{breadth\}, \{tag\}"),
        ("max_act", "Answer after {tag:>9}.", r"unknown placeholder \{tag:>9\}"),
        ("max_act", "Answer after {tag.__class__}.", r"unknown placeholder \{tag.__class__\}"),
        ("max_act", "Answer after {} or {tag}.", r"unknown placeholder \{\}"),
        ("max_act", "Just answer.", r"does not ask for a line that begins with \{tag\}"),
        ("detection", 'Reply with {"a": 1}.', "this prompt has no placeholders"),
        ("detection", "An open { brace.", "write a brace of the text itself twice"),
        ("detection", " \n", "the text is empty"),
    ],
)
def test_a_text_that_cannot_take_a_prompts_place_is_refused(tmp_path: Path, name: str, text: str, why: str) -> None:
    prompt_file(tmp_path, name, text)
    with pytest.raises(UserError, match=f"prompts/{name}.md cannot take the place of the prompt {name}: .*{why}"):
        PlatformSettings.read(tmp_path / "settings.yaml")
    block = PROMPTS[name].block
    with pytest.raises(UserError, match=why):
        PlatformSettings().stage_settings({block: {name: {"instructions": text}}})


@pytest.mark.parametrize("method", ["max_act", "candidates"])
def test_a_breadth_that_a_text_does_not_ask_for_is_refused(tmp_path: Path, method: str) -> None:
    prompt_file(tmp_path, method, TEXT)
    settings = PlatformSettings.read(tmp_path / "settings.yaml")
    with pytest.raises(UserError, match=rf"explaining.{method}.breadth: strong changes nothing, .* have no {{breadth}}"):
        settings.stage_settings({"explaining": {method: {"breadth": "strong"}}})
    asked = {"breadth": "strong", "instructions": "Be specific, and {breadth}, after {tag}."}
    assert settings.stage_settings({"explaining": {method: asked}})


@pytest.mark.parametrize("scorer", ["intruder", "output_based"])
def test_reasons_that_a_text_does_not_ask_for_are_refused(tmp_path: Path, scorer: str) -> None:
    prompt_file(tmp_path, scorer, "Which of the texts is the odd one out? Answer with its number.")
    settings = PlatformSettings.read(tmp_path / "settings.yaml")
    with pytest.raises(UserError, match=rf"scoring.{scorer}.reason: true changes nothing, .* have no {{reply}}"):
        settings.stage_settings({"scoring": {scorer: {"reason": True}}})
    assert settings.stage_settings({"scoring": {scorer: {"reason": True, "instructions": "Which is odd? {reply}"}}})


def test_names_are_checked_and_other_files_passed_over(tmp_path: Path) -> None:
    prompt_file(tmp_path, "max_act", TEXT)
    for passed in ("max_act.md~", ".hidden.md", "notes.txt"):
        (tmp_path / "prompts" / passed).write_text("{")
    PlatformSettings.read(tmp_path / "settings.yaml")
    prompt_file(tmp_path, "max_acts", TEXT)
    with pytest.raises(UserError, match=r"max_acts.md: there is no prompt named 'max_acts'; .*did you mean 'max_act'\?"):
        PlatformSettings.read(tmp_path / "settings.yaml")


def test_the_settings_of_a_dictionary_come_before_the_file(tmp_path: Path) -> None:
    prompt_file(tmp_path, "max_act", TEXT)
    stages = PlatformSettings.read(tmp_path / "settings.yaml").stage_settings({"explaining": {"max_act": {"instructions": "{tag} own"}}})
    assert stages.explaining.max_act.instructions == "{tag} own" and stages.explaining.contrastive.instructions is None


def test_the_command_shows_packaged_and_own_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_HOME", str(tmp_path))
    shown = CliRunner().invoke(app, ["prompts", "show", "max_act"])
    assert shown.stdout == (FOLDER / "max_act.md").read_text()
    prompt_file(tmp_path, "max_act", TEXT)
    assert CliRunner().invoke(app, ["prompts", "show", "max_act"]).stdout == TEXT + "\n"
    assert CliRunner().invoke(app, ["prompts", "show", "max_act", "--packaged"]).stdout == shown.stdout
    listed = CliRunner().invoke(app, ["prompts", "list"]).stdout
    assert "explanations/max_act " in listed and "prompts/max_act.md" in listed and "packaged" in listed
    wrong = CliRunner().invoke(app, ["prompts", "show", "maxact"])
    assert wrong.exit_code and "did you mean 'max_act'" in wrong.output
