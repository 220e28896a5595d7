"""`interp prompts`: the instructions that methods give to language models, and what other instructions would change."""

from pathlib import Path
from typing import Annotated

import typer

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

    prompt = prompt_named(name)
    found = {} if packaged else site_prompts(Home.from_environment().root)
    typer.echo(found[name][0] if name in found else prompt.text)


@prompting.command("compare", epilog="Example: interp prompts compare max_act --with shorter.md smollm2-135m/09/res-2k --n 50")
def compare_prompts(
    name: Annotated[str, typer.Argument(help="name of a prompt, as `interp prompts list` prints it")],
    key: Annotated[str, typer.Argument(help="key of a registered dictionary with examples")],
    file: Annotated[Path, typer.Option("--with", help="file with the other text of the prompt")],
    n: Annotated[int, typer.Option(min=1, help="features, drawn by the seed among all with examples")] = 20,
    scorer: Annotated[str | None, typer.Option(help="for an explainer's prompt: scorer of the explanations; detection by default")] = None,
    method: Annotated[
        str | None, typer.Option(help="for a scorer's prompt: explanations that it judges; the first of the lake's methods")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what it would cost at most, and ask nothing")] = False,
) -> None:
    """Ask a prompt's present text and another text about the same windows, and print the paired difference of the scores."""
    from interp_assets.config.prompt_files import prompt_named, read_prompt
    from interp_assets.installation.home import Home
    from interp_assets.single_features.compare_prompts import planned_comparison
    from interp_assets.single_features.told_comparison import told_comparison, told_costs
    from resources.model_provider import RealModels

    prompt = prompt_named(name)
    planned = planned_comparison(Home.from_environment(), key, prompt, read_prompt(name, file), n, scorer, method)
    for line in told_costs(planned):
        typer.echo(line)
    if dry_run:
        return
    for line in told_comparison(planned, planned.ask(RealModels(), lambda line: typer.echo(line, err=True))):
        typer.echo(line)
