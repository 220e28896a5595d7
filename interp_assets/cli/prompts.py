"""`interp prompts`: the instructions that methods give to language models, and what other instructions would change."""

from typing import Annotated

import typer

from interp_assets.cli.errors import errors_as_messages
from interp_assets.cli.help import CommandGroup

prompting = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, rich_markup_mode=None, help="See, replace and compare the instructions of methods."
)


@prompting.command("list", epilog="Example: interp prompts list")
def list_prompts() -> None:
    """List every prompt with the asset that asks it, its placeholders, and where its text is from."""
    import polars as pl

    from interp_assets.cli.output import OutputFormat, print_frame
    from interp_assets.config.prompt_files import site_prompts
    from interp_assets.domain.prompting.instructions import PROMPTS
    from interp_assets.installation.home import Home

    with errors_as_messages():
        found = site_prompts(Home.from_environment().root)
    rows = [
        (name, prompt.asset, " ".join(f"{{{one}}}" for one in prompt.placeholders), f"prompts/{name}.md" if name in found else "packaged")
        for name, prompt in PROMPTS.items()
    ]
    print_frame(pl.DataFrame(rows, ["prompt", "asked by", "placeholders", "text from"], orient="row"), OutputFormat.table, 0)


@prompting.command("show", epilog="Example: interp prompts show max_act > $INTERP_HOME/prompts/max_act.md")
def show_prompt(
    name: Annotated[str, typer.Argument(help="name of a prompt, as `interp prompts list` prints it")],
    packaged: Annotated[bool, typer.Option("--packaged", help="the packaged text, also where the site has replaced it")] = False,
) -> None:
    """Print the text of a prompt: the site's where it has replaced it. Redirected into the folder prompts of the home, it can be edited."""
    from interp_assets.config.prompt_files import prompt_named, site_prompts
    from interp_assets.installation.home import Home

    with errors_as_messages():
        prompt = prompt_named(name)
        found = {} if packaged else site_prompts(Home.from_environment().root)
        typer.echo(found[name][0] if name in found else prompt.text)
