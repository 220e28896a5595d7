"""`interp`: register dictionaries, launch backfills, query the warehouse, check the installation. Everything else is `dg`."""

import contextlib
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from interp_assets.cli.errors import end_interrupted, fail
from interp_assets.cli.exchange import exporting, importing
from interp_assets.cli.features import redo, run, show
from interp_assets.cli.help import CommandGroup
from interp_assets.cli.operations import alerts, thin, usage
from interp_assets.cli.output import OutputFormat, print_frame
from interp_assets.cli.prompts import prompting
from interp_assets.cli.query import query
from interp_assets.cli.ratings import rating
from interp_assets.cli.streams import in_utf8, open_closed_streams, print_what_streams_take
from interp_assets.config.example_records import HEADS, example_record
from interp_assets.config.nearest import nearest_hint
from interp_assets.installation.interrupts import (
    INTERRUPTED,
    answer_signals,
    exit_status_of,
    interrupt_at_ending_signals,
    unanswered_signal,
)

app = typer.Typer(cls=CommandGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(importing, name="import")
app.add_typer(exporting, name="export")
app.add_typer(rating, name="ratings")
app.add_typer(prompting, name="prompts")


PORT_HELP = "port of a running `interp ui` of this home; by default one is found, or started"


def show_version(asked: bool) -> None:
    """Print the version and leave, where it is asked for."""
    if asked:
        import importlib.metadata

        typer.echo(f"interp-assets {importlib.metadata.version('interp-assets')}")
        raise typer.Exit


@app.callback()
def interp(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="print the version and leave")] = False,
) -> None:
    """Register dictionaries, launch backfills, ask the warehouse, check the installation. Everything else is `dg`."""


@app.command(
    epilog="Example: interp register my-sae.yaml; interp register shared.yaml --release gemma-scope-2b-pt-res-canonical --width 16k"
)
def register(
    record: Annotated[
        Path | None,
        typer.Argument(help="YAML record of the dictionary, or a list of records; with --release the fields that all its records share"),
    ] = None,
    release: Annotated[
        str | None, typer.Option(help="a whole release: its name in SAELens, a set of circuit-tracer, or a folder of dictionaries")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="only these layers of the release, such as 0-25; all by default")] = None,
    width: Annotated[str | None, typer.Option(help="only dictionaries of this width, such as 16k or 16384")] = None,
    only: Annotated[str | None, typer.Option(help="only dictionaries whose name in the release matches, such as '*l0_medium*'")] = None,
    name: Annotated[str | None, typer.Option(help="name of the release in the keys; by default its own")] = None,
    check: Annotated[bool, typer.Option(help="load the model and dictionary and run the self-check first")] = True,
) -> None:
    """Validate dictionary records, check that each loads and explains its hook, and register each as a partition of the graph."""
    from interp_assets.cli.next_steps import next_step
    from interp_assets.config.registry import record_text
    from interp_assets.config.yaml_files import BadYaml, parse_yaml
    from interp_assets.installation.home import Home
    from interp_assets.installation.registration import register_record, register_records
    from interp_assets.installation.releases import parse_layers, records_of_list, release_records

    if record is not None and not record.is_file():
        fail(f"there is no file {record}; `interp dictionaries --example` prints a record to start from")
    if release is None and (record is None or any(option is not None for option in (layers, width, only, name))):
        fail("name a record, or a release by --release; --layers, --width, --only and --name choose from a release")
    home, where = Home.from_environment(), str(record)
    text = "" if record is None else record_text(record)
    try:
        content = parse_yaml(text)
    except BadYaml as error:
        fail(f"{where} holds no record: {error}")
    if release is not None:
        if not isinstance(content, dict | None):
            fail(f"{where} holds a {type(content).__name__}; with --release it holds the fields that all records share")
        records = release_records(release, content or {}, parse_layers(layers), width, only, name, typer.echo)
        where = f"--release {release}"
    elif isinstance(content, list):
        records = records_of_list(content, where)
    else:
        result = register_record(home, text, where, check=check, say=typer.echo)
        typer.echo(f"registered {result.key} ({len(result.selected_features):,} of {result.width:,} features)")
        typer.echo(next_step([result]))
        return
    passed, failures = register_records(home, records, where, check=check, say=typer.echo)
    for result in passed:
        typer.echo(f"registered {result.key} ({len(result.selected_features):,} of {result.width:,} features)")
    if passed:
        typer.echo(next_step(passed))
    if failures:
        fail(f"{len(failures)} of {len(records)} dictionaries are not registered, for the reasons above: {', '.join(failures)}")


@app.command(epilog="Example: interp dictionaries; interp dictionaries --example sparsify")
def dictionaries(
    kind: Annotated[str | None, typer.Argument(help=f"only this kind: {', '.join(HEADS)}")] = None,
    example: Annotated[bool, typer.Option("--example", help="print a record of the kind (sae_lens by default) to start from")] = False,
) -> None:
    """List the registered dictionaries and any broken record, or print a record to start from."""
    from interp_assets.installation.home import Home

    if kind is not None and kind not in HEADS:
        fail(f"there is no kind {kind!r} of dictionary{nearest_hint(kind, HEADS)}; known: {', '.join(HEADS)}")
    if example:
        typer.echo(example_record(kind or "sae_lens"))
        return
    home = Home.from_environment()
    records, broken = home.registry.read_all()
    if not records and not broken:
        typer.echo(f"none registered in {home.registry.folder}; `interp dictionaries --example` prints a record to start from")
    for key, record in records.items():
        if kind not in (None, record.kind):
            continue
        typer.echo(f"{key}\t{record.kind}\t{record.hook}\twidth {record.width:,}\t{len(record.selected_features):,} selected")
    for name, error in broken.items():
        typer.echo(f"BROKEN {name}: {error}", err=True)
    if broken:
        raise typer.Exit(1)


@app.command(epilog="Example: interp forget smollm2-135m/09/res-2k")
def forget(
    dictionary: Annotated[str, typer.Argument(help="key of the dictionary")],
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before removing")] = False,
) -> None:
    """Remove a dictionary: its record, and all that was made of it in the lake. Says first what goes; replies of models stay."""
    from interp_assets.installation.forgetting import forget as remove
    from interp_assets.installation.forgetting import planned_removal
    from interp_assets.installation.home import Home

    home = Home.from_environment()
    removal = planned_removal(home, dictionary)
    typer.echo(removal.line)
    if not yes and not typer.confirm("remove it?"):
        fail("nothing was removed")
    remove(home, removal)
    typer.echo(f"forgotten: {dictionary}")


@app.command(epilog="Example: interp rename smollm2-135m/09/res-2k smollm2-135m/09/topk-2k")
def rename(
    old: Annotated[str, typer.Argument(help="key of the dictionary")],
    new: Annotated[str, typer.Argument(help="its new key, of the same model")],
) -> None:
    """Give a dictionary another key. All that was made of it moves; nothing becomes stale, and nothing is asked again."""
    from interp_assets.installation.home import Home
    from interp_assets.installation.renaming import rename as move

    move(Home.from_environment(), old, new, typer.echo)
    typer.echo(f"renamed: {old} is {new}")


@app.command(epilog="Example: interp backfill smollm2-135m/09/res-2k --only scores/fuzzing --dry-run")
def backfill(
    dictionary: Annotated[list[str], typer.Argument(help="one or more dictionary keys")],
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="asset to make, such as scores/fuzzing, or `scores` for all scorers in the settings; by default everything in the settings"
        ),
    ] = None,
    features: Annotated[str | None, typer.Option(help="only the ranges with these features, such as 0-4095; all by default")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be made and what it would cost at most; start nothing")
    ] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help=PORT_HELP)] = None,
) -> None:
    """Make everything that the settings ask for of the dictionaries, as one Dagster backfill, and follow it to its end. Finished ranges are
    kept."""
    from interp_assets.backfill.command import costed_plan, selected_partitions
    from interp_assets.backfill.launch import run_backfills
    from interp_assets.backfill.told import tell_failed_backfill
    from interp_assets.installation.home import Home
    from interp_assets.installation.server import running_server

    home = Home.from_environment()
    if dry_run:
        frame, lines = costed_plan(home, dictionary, only or (), features)
        print_frame(frame, OutputFormat.table, 0)
        typer.echo("\n".join(lines))
        return
    parts = selected_partitions(home, dictionary, only or (), features, typer.echo)
    words = ["interp backfill", *dictionary, *(only or []), *([features] if features else [])]
    with running_server(home, port) as server:
        result = run_backfills(server, parts, words, typer.echo)
    if not result.succeeded:
        tell_failed_backfill(home, result.backfill_id, typer.echo)
        fail(result.failure)
    typer.echo(f"backfill {result.backfill_id} is complete")


app.command(epilog="Example: interp run smollm2-135m/09/res-2k --features 17,404")(run)
app.command(epilog="Example: interp show smollm2-135m/09/res-2k 404 --prompts")(show)
app.command(epilog="Example: interp redo smollm2-135m/09/res-2k 404 --only explanations/max_act --ask-again")(redo)


app.command(epilog='Example: interp query "SELECT feature, explanation FROM feature_overview LIMIT 5"')(query)


class PlotName(StrEnum):
    """The figures that `interp plot` draws: each is a file of `interp_assets/plotting`."""

    scores = "scores"
    methods = "methods"
    layers = "layers"
    controls = "controls"
    correlations = "correlations"
    stability = "stability"


@app.command(epilog="Example: interp plot scores smollm2-135m/09/res-2k --out scores.pdf")
def plot(
    which: Annotated[PlotName, typer.Argument(help="what to draw")],
    out: Annotated[Path, typer.Option(help="file to write: .pdf or .svg (vectors), or .png; a file that is there is replaced")],
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY...]", help="keys of dictionaries; all by default")] = None,
    scorer: Annotated[list[str] | None, typer.Option(help="scorer to draw; all by default")] = None,
    explanations: Annotated[list[str] | None, typer.Option(help="explanation method to draw; all by default")] = None,
) -> None:
    """Draw a figure for a paper; its numbers are written beside it as CSV, and its caption as text."""
    import polars as pl

    from interp_assets.installation.home import Home
    from interp_assets.plotting import PLOTS
    from interp_assets.plotting.figure import Asked, checked_form, write_figure

    home = Home.from_environment()
    checked_form(out)
    for key in keys or ():
        home.registry.get(key)
    asked = Asked(tuple(keys or ()), tuple(scorer or ()), tuple(explanations or ()))
    drawn = {one.NAME: one for one in PLOTS}[which.value].figure(lambda sql: pl.DataFrame(home.warehouse.query(sql).rows), asked)
    numbers, caption = write_figure(drawn, out)
    typer.echo(f"wrote {out}, its {len(drawn.numbers):,} rows of numbers to {numbers} and its caption to {caption}:\n{drawn.caption}")


@app.command(epilog="Example: interp replies --prune-older-than-days 90")
def replies(
    prune_older_than_days: Annotated[float | None, typer.Option(min=0, help="forget replies older than this")] = None,
    prune_model: Annotated[str | None, typer.Option(help="forget the replies of this model")] = None,
) -> None:
    """Show the size of the reply store by model, or prune it. A pruned reply is asked for again when it is needed."""
    from interp_assets.installation.home import Home

    home = Home.from_environment()
    store = home.replies
    if prune_older_than_days is not None and not math.isfinite(prune_older_than_days):
        fail(f"--prune-older-than-days {prune_older_than_days} is no number of days, such as 90")
    if prune_model is not None:
        models = sorted({str(name) for name in store.usage()["model"].to_pylist()})
        if prune_model not in models:
            there = ", ".join(models) or "none"
            fail(f"--prune-model {prune_model}: the store has no reply of it{nearest_hint(prune_model, models)}; it has {there}")
    if prune_older_than_days is not None or prune_model is not None:
        from interp_assets.installation.unfinished_runs import home_instance, refuse_asking

        with home_instance(home) as instance:
            refuse_asking(instance)
        typer.echo(f"forgot {store.prune(older_than_days=prune_older_than_days, model=prune_model):,} replies")
    size = store.size()
    if size.n_damaged:
        typer.echo(
            f"{size.n_damaged:,} damaged files are set aside under {store.folder / 'damaged'}; {size.n_lost:,} of their replies are lost, "
            "and asked again when they are needed. Remove the files once you have looked at them"
        )
    typer.echo(f"{size.n_replies:,} replies, {size.n_bytes / 1e6:.1f} MB in {size.n_parts} files under {store.folder}")


app.command(epilog="Example: interp usage --format csv")(usage)
app.command(epilog="Example: interp thin --yes")(thin)
app.command(epilog="Example: interp alerts --test")(alerts)


@app.command(epilog="Example: interp doctor --verify")
def doctor(
    verify: Annotated[bool, typer.Option("--verify", help="read every file of the lake against its checksums")] = False,
) -> None:
    """Say what is installed, which device and back ends work, and whether the store is sound. Status 1 when something is broken."""
    from interp_assets.installation.doctor import findings
    from interp_assets.installation.home import Home

    home = Home.from_environment()
    broken = False
    for finding in findings(home, verify):
        typer.echo(f"{finding.mark:>4}  {finding.subject:<22} {finding.text}")
        broken |= finding.mark == "FAIL"
    if broken:
        raise typer.Exit(1)


@contextlib.contextmanager
def explorer_beside() -> Iterator[None]:
    """A block beside which the explorer runs, in a process of its own that ends with the block."""
    from interp_assets.installation.process_group import started_group

    with started_group([sys.executable, "-m", "interp_assets.cli.main", "explore"], os.environ, end_seconds=10):
        yield


@app.command(epilog="Example: interp ui --port 3001")
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to answer on")] = 3000,
    host: Annotated[
        str, typer.Option(help="address to answer on; 0.0.0.0 lets every machine of the network start runs, so let none reach it unasked")
    ] = "127.0.0.1",
    explore_too: Annotated[bool, typer.Option("--explore", help="start `interp explore` beside it, on its usual port")] = False,
) -> None:
    """Start Dagster's webserver and daemon for this home, and end both at Ctrl-C."""
    from interp_assets.installation.home import Home
    from interp_assets.installation.interrupts import Interrupted
    from interp_assets.installation.server import serve_ui

    try:
        with explorer_beside() if explore_too else contextlib.nullcontext():
            serve_ui(Home.from_environment(), host, port, typer.echo)
    except Interrupted as interrupt:
        end_interrupted(interrupt, "the UI and all that it started have ended")


@app.command(epilog="Example: interp explore --port 3001")
def explore(
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to answer on; 0 takes a free one")] = 3001,
    host: Annotated[
        str, typer.Option(help="address to answer on; an address that other machines reach is served with a token alone")
    ] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(envvar="INTERP_EXPLORE_TOKEN", help="token that every reader must bring; made anew where it is needed")
    ] = None,
    rater: Annotated[str | None, typer.Option(help="your name: opens rating and notes, which are kept under it")] = None,
    export: Annotated[Path | None, typer.Option(help="write the pages into this folder instead, for any web server or none")] = None,
    dictionary: Annotated[list[str] | None, typer.Option(help="with --export: only this dictionary; repeat it for several")] = None,
    features: Annotated[str | None, typer.Option(help="with --export: only these features, such as 17,404 or 0-999")] = None,
) -> None:
    """Show dictionaries, features, explanations and scores of this home as pages, until Ctrl-C."""
    from interp_assets.explorer.explorer import Explorer
    from interp_assets.explorer.serving import serve
    from interp_assets.installation.home import Home
    from interp_assets.ratings.rater_file import checked_rater

    if export is not None:
        write_site(export, dictionary or (), features)
        return
    if dictionary or features:
        from interp_assets.config.base import UserError

        raise UserError("--dictionary and --features choose what --export writes: interp explore --export site/ --features 0-999")
    serve(Explorer(Home.from_environment(), rater=checked_rater(rater)), host, port, typer.echo, token)


def write_site(folder: Path, dictionaries: Sequence[str], features: str | None) -> None:
    """Write a static copy of the explorer's pages, and say what was written."""
    from interp_assets.config.feature_lists import parse_features
    from interp_assets.explorer.explorer import Explorer
    from interp_assets.explorer.static_site import export_site
    from interp_assets.installation.home import Home

    started = time.monotonic()
    n = export_site(Explorer(Home.from_environment()), folder, dictionaries, parse_features(features), typer.echo)
    typer.echo(
        f"{n:,} features in {folder} after {time.monotonic() - started:.0f} s; open {folder / 'index.html'}, or let any web server show it"
    )


@app.command(epilog="Example: interp embed smollm2-135m/09/res-2k")
def embed(dictionary: Annotated[list[str], typer.Argument(help="one or more dictionary keys")]) -> None:
    """Embed the explanations of dictionaries by the sentence encoder, so that `interp explore` searches them by meaning. Run it again when
    explanations have changed."""
    from interp_assets.explorer.embed_explanations import embed_explanations
    from interp_assets.installation.home import Home
    from resources.model_provider import RealModels

    home = Home.from_environment()
    for key in dictionary:
        embed_explanations(home, RealModels(), key, typer.echo)


@app.command(epilog="Example: interp demo")
def demo(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help=PORT_HELP)] = None,
    full: Annotated[
        bool, typer.Option("--full", help="a dozen features of three dictionaries by every method, and of two controls")
    ] = False,
) -> None:
    """Register the demo's dictionaries, make everything for them through Dagster, and print explanations with their scores."""
    from interp_assets.demo.run import next_steps, run_demo
    from interp_assets.installation.home import Home

    started = time.monotonic()
    frames, message = run_demo(Home.from_environment(), port, typer.echo, full)
    for frame in frames:
        print_frame(frame, OutputFormat.table, 0)
    typer.echo(f"{message} ({time.monotonic() - started:.0f} s)\n{next_steps()}")


def main() -> NoReturn:
    """Run a command and leave without taking the interpreter down: at its end, beside torch, DuckDB's binding would list its types as
    leaked."""
    open_closed_streams()
    in_utf8()
    print_what_streams_take()
    interrupt_at_ending_signals()
    status = command_status()
    if (number := unanswered_signal()) is not None:
        typer.echo(INTERRUPTED, err=True)
        status = 128 + number
    answer_signals()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def command_status() -> int:
    """The status of the command that was typed, at its end."""
    status: object = 0
    try:
        app()
    except SystemExit as leave:
        status = leave.code
    except typer.Exit as leave:
        status = leave.exit_code
    except KeyboardInterrupt as interrupt:
        status = exit_status_of(interrupt)
    except BaseException:
        if unanswered_signal() is None:  # otherwise the error may well be what somebody made of the interrupt
            traceback.print_exc()
        status = 1
    return status if isinstance(status, int) else int(status is not None)


if __name__ == "__main__":
    main()
