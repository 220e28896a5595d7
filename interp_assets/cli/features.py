"""`interp run`, `interp redo` and `interp show`: a few features, in this process."""

import contextlib
import sys
import time
from typing import Annotated

import typer

from interp_assets.cli.errors import fail


def run(
    key: Annotated[str, typer.Argument(help="key of a registered dictionary")],
    features: Annotated[
        str | None,
        typer.Option(help="only these features, such as 17,404 or 0-9, or firing:10 for ten that fire often enough; all by default"),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="asset to make, such as scores/fuzzing, or `scores` for all scorers in the settings; by default everything in the settings"
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="let rows go that were made of other features of these ranges under other settings")
    ] = False,
) -> None:
    """Make what the settings ask for of a dictionary in this process, without a server. The runs are in the UI's list of runs."""
    started = time.monotonic()
    from interp_assets.single_features.models_ahead import models_loading_ahead
    from resources.quick_imports import without_collecting

    with contextlib.nullcontext() if features is None else models_loading_ahead(key, only or ()) as process:
        with without_collecting():
            from interp_assets.config.feature_lists import selected_among
            from interp_assets.installation.home import Home
            from interp_assets.single_features.endings import lines_of_endings
            from interp_assets.single_features.firing import asked_or_firing
            from interp_assets.single_features.plan import planned_run
            from interp_assets.single_features.without_examples import lines_without_examples
            from resources.kept_models import KeptModels
            from resources.model_provider import RealModels

            home, models = Home.from_environment(), KeptModels(RealModels(), process)  # the plan and the run read one tokenizer
            asked = asked_or_firing(home, key, features, models, lambda harvest: _made(home, harvest, models, started))
            if asked is not None and str(asked) != features:
                typer.echo(f"features {asked}")
            planned = planned_run(home, key, asked, only or (), models, replace)
        _made(home, planned, models, started)
    record = home.registry.get(key)
    without = lines_without_examples(home.lake, record, asked)
    for line in without:
        typer.echo(line)
    if without and asked is not None and record.has_activations:
        typer.echo(f"features that fire often enough: interp run {key} --features firing:10")
    for line in lines_of_endings(home.lake, record, home.settings.stage_settings(record.stages), asked):
        typer.echo(line)
    first = "FEATURE" if asked is None else selected_among(record, record.selected_features, asked)[0]
    typer.echo(f"next: interp show {key} {first}")


def _made(home, planned, models, started: float) -> None:  # type: ignore[no-untyped-def]  # their types would be imported for --help
    """Run a plan with its progress shown, and say what it took."""
    from resources.quick_imports import without_collecting

    with without_collecting():
        from interp_assets.single_features.progress import BarWatcher, LineWatcher, bars
        from interp_assets.single_features.run import run_here

    for note in planned.notes:
        typer.echo(note)
    if planned.is_empty:
        typer.echo("nothing to do: all else is there and current" if planned.notes else "nothing to do: all of it is there and current")
        return
    if sys.stdout.isatty():
        with bars() as drawn:
            result = run_here(home, planned, models, BarWatcher(drawn), drawn.console.print)
    else:
        result = run_here(home, planned, models, LineWatcher(typer.echo), typer.echo)
    if not result.succeeded:
        fail("\n".join(result.errors) + "\nwhat is finished is kept, and so is every reply: the same command makes only what is missing")
    cost = f", {result.tokens:,} tokens" + (f", ${result.usd:,.4f}" if result.usd else "")
    typer.echo(f"made in {time.monotonic() - started:.1f} s{cost}; Dagster's runs: {', '.join(one[:8] for one in result.runs)}")


def show(
    key: Annotated[str, typer.Argument(help="key of a registered dictionary")],
    feature: Annotated[int, typer.Argument(min=0, help="index of the feature in the dictionary")],
    windows: Annotated[int, typer.Option(min=0, help="most activating windows to print")] = 10,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="print every question that was asked about the feature, and the raw reply with its key")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="with --prompts: only questions of this asset, such as scores/fuzzing, or `scores` for those of all scorers"),
    ] = None,
) -> None:
    """Show one feature: its windows, explanations, scores and neighbours, or the questions that were asked about it."""
    from rich.console import Console

    from interp_assets.installation.home import Home

    home = Home.from_environment()
    if only and not prompts:
        fail("--only belongs to --prompts, which prints the questions of one asset")
    if prompts:
        _print_questions(home, key, feature, only or ())
        return
    from interp_assets.cli.feature_card import print_card
    from interp_assets.single_features.card import read_card

    print_card(read_card(home, key, feature), Console(highlight=False), windows)


def _print_questions(home, key: str, feature: int, only) -> None:  # type: ignore[no-untyped-def]
    """Print each question with its reply, as plain text; control characters of a reply are made visible."""
    from interp_assets.backfill.launch import known_assets
    from interp_assets.graph.assembly import ASSETS
    from interp_assets.single_features.questions import asked_questions

    known_assets(ASSETS, only)
    found = False
    for one in asked_questions(home, key, feature, only):
        found = True
        typer.echo(f"━━ {one.asset} of {one.explanation_method}, asked of {one.model}")
        if one.request is None:
            typer.echo("the question cannot be planned again: settings, prompts or windows have changed since")
        else:
            for message in one.request.messages:
                typer.echo(f"── {message.role}\n{_printable(message.content)}")
            if one.request.suffix:
                typer.echo(f"── given beginning of the reply\n{_printable(one.request.suffix)}")
        typer.echo(f"── reply {one.key or '(none came)'}")
        if one.reply is not None:
            typer.echo(_printable(one.reply.text or "(measured; no text)"))
        elif one.key:
            typer.echo("(the reply store has it no more)")
    if not found:
        typer.echo(f"no model was asked about feature {feature} of {key} yet: interp run {key} --features {feature}", err=True)


def _printable(text: str) -> str:
    """The text line by line, without control characters that a terminal would obey."""
    from interp_assets.domain.prompting.rendering import visible

    return "\n".join(visible(line) for line in text.splitlines())


def redo(
    key: Annotated[str, typer.Argument(help="key of a registered dictionary")],
    feature: Annotated[int, typer.Argument(min=0, help="index of the feature in the dictionary")],
    only: Annotated[
        list[str] | None,
        typer.Option(help="asset to make again, such as explanations/max_act, or `scores` for all scores that are there; by default both"),
    ] = None,
    ask_again: Annotated[
        bool, typer.Option("--ask-again", help="forget the replies to these assets' questions about the feature, and ask them again")
    ] = False,
) -> None:
    """Make explanations and scores of one feature again in this process, and what is made from them. Kept replies are used."""
    started = time.monotonic()
    from interp_assets.single_features.models_ahead import models_loading_ahead
    from resources.quick_imports import without_collecting

    with models_loading_ahead(key, only or ()) as process:
        with without_collecting():
            from interp_assets.installation.home import Home
            from interp_assets.single_features.redo import forget_replies, planned_redo
            from resources.kept_models import KeptModels
            from resources.model_provider import RealModels

        home = Home.from_environment()
        plans, named = planned_redo(home, key, feature, only or ())
        if ask_again:
            typer.echo(f"forgot {forget_replies(home, key, feature, named):,} replies about feature {feature}")
        for planned in plans:
            typer.echo(f"making again: {', '.join(planned.assets)}")
            _made(home, planned, KeptModels(RealModels(), process), started)
    typer.echo(f"next: interp show {key} {feature}")
