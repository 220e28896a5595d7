"""The prompts that a site has replaced: files `$INTERP_HOME/prompts/<name>.md`, as the settings of their methods."""

from pathlib import Path
from typing import Any

from interp_assets.config.base import UserError
from interp_assets.config.nearest import nearest_hint
from interp_assets.config.yaml_files import BadYaml, read_text_file
from interp_assets.domain.prompting.instructions import PROMPTS, NamedPrompt, refuse_bad_instructions


def prompt_named(name: str, where: str = "") -> NamedPrompt:
    """A prompt by its name. Raises `UserError` naming the known prompts; `where` says in which file the name stands."""
    if name not in PROMPTS:
        raise UserError(f"{where}there is no prompt named {name[:60]!r}; there are {', '.join(PROMPTS)}{nearest_hint(name, PROMPTS)}")
    return PROMPTS[name]


def read_prompt(name: str, file: Path) -> str:
    """The text of a file that takes the place of a prompt, with plain line breaks and without the last. Raises `UserError` naming the file
    and what is wrong."""
    try:
        text = read_text_file(file).replace("\r\n", "\n").removesuffix("\n")
    except BadYaml as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}. Name a file that is there and that this user may read.") from None
    try:
        refuse_bad_instructions(name, text)
    except ValueError as error:
        raise UserError(f"{file} cannot take the place of the prompt {name}: {error}") from None
    return text


def site_prompts(home: Path) -> dict[str, tuple[str, Path]]:
    """(text, file) of each prompt that a home replaces, by name. A file whose name begins with a dot is passed over, as is a file that is
    not `.md`. Raises `UserError` naming a file that is no prompt, or not a legal one."""
    found: dict[str, tuple[str, Path]] = {}
    for file in sorted((home / "prompts").glob("*.md")):
        if not file.name.startswith("."):
            name = file.name.removesuffix(".md")
            prompt_named(name, f"{file}: ")
            found[name] = read_prompt(name, file), file
    return found


def settings_of_prompts(home: Path) -> dict[str, Any]:
    """Stage settings with the texts of the prompts that a home replaces; empty where there are none."""
    found: dict[str, Any] = {}
    for name, (text, _) in site_prompts(home).items():
        prompt = PROMPTS[name]
        found.setdefault(prompt.block, {}).setdefault(prompt.method, {})[prompt.setting] = text
    return found
