"""`interp ratings`: writes tasks for raters, and reads their ratings."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from interp_assets.cli.help import CommandGroup

rating = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, rich_markup_mode=None, help="Have people rate explanations, and read their ratings."
)


class Selection(StrEnum):
    """How explanations are chosen for rating."""

    quantiles = "quantiles"
    importance = "importance"


@rating.command("template", epilog="Example: interp ratings template --dictionary smollm2-135m/09/res-2k --n 80 --out rating-task")
def template(
    dictionary: Annotated[list[str], typer.Option(help="key of a dictionary whose explanations are to be rated; repeat for several")],
    n: Annotated[int, typer.Option(min=1, help="explanations to rate")] = 80,
    contexts: Annotated[int, typer.Option(min=1, max=100, help="windows of each explanation")] = 5,
    method: Annotated[list[str] | None, typer.Option(help="explanation method; by default all but baselines")] = None,
    select: Annotated[
        Selection, typer.Option(help="evenly over methods and quantiles of their scores, or by the feature's activation mass")
    ] = Selection.quantiles,
    whole: Annotated[bool, typer.Option("--whole", help="one rating an explanation beside its windows, instead of one a window")] = False,
    seed: Annotated[int, typer.Option(help="another seed draws another task")] = 0,
    out: Annotated[Path, typer.Option(help="folder to write into")] = Path("rating-task"),
) -> None:
    """Write a rating task: a page to rate in, which needs no network, and a CSV with the same rows. Raters see no method and no score."""
    from interp_assets.config.base import UserError
    from interp_assets.config.nearest import nearest_hint
    from interp_assets.domain.explaining import METHODS
    from interp_assets.domain.statistics.power import smallest_detectable_spearman
    from interp_assets.installation.home import Home
    from interp_assets.ratings.tasks import TaskSettings, rating_task, write_task

    home = Home.from_environment()
    settings = TaskSettings(n, contexts, tuple(method or ()), select.value, whole, seed)
    for name in settings.methods:
        if name not in METHODS:
            hint = nearest_hint(name, METHODS)
            raise UserError(f"--method {name}: there is no such explanation method{hint}; there are {', '.join(METHODS)}")
    task = rating_task(home.lake, home.registry, list(dict.fromkeys(dictionary)), settings)
    page, table = write_task(task, out)
    features = len({(item.chosen.dictionary, item.chosen.feature) for item in task.items})
    windows = sum(len(item.windows) for item in task.items)
    typer.echo(f"wrote {page} and {table}: {len(task.items):,} explanations of {features:,} features in {windows:,} windows")
    if len(task.items) < n:
        typer.echo(f"note: {n:,} explanations were asked for, and there are no more with held-out windows")
    detectable = smallest_detectable_spearman(features)
    if detectable is not None:
        typer.echo(f"so many features show a Spearman correlation from {detectable:.2f} up, with probability 0.8")
    typer.echo("next: let at least two people rate the whole task, each in a copy; then interp ratings import FILE")


@rating.command("import", epilog="Example: interp ratings import rating-task-1f0c33aa-ada.csv")
def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV or JSON lines of ratings (see `interp ratings columns`), or JSON of delphi's rating app")
    ],
    rater: Annotated[str, typer.Option(help="who rated, where the file does not say")] = "",
    dictionary: Annotated[
        list[str] | None, typer.Option(help="KEY of the dictionary, where the file names another; SOURCE=KEY, repeated, for several")
    ] = None,
    generated: Annotated[
        bool, typer.Option("--generated", help="a model or script made these ratings: no report counts them as people's")
    ] = False,
    name: Annotated[str | None, typer.Option(help="name to keep the file under; by default the file's name")] = None,
    max_bad_share: Annotated[float, typer.Option(min=0, max=1, help="largest share of rows that may be rejected, and are left out")] = 0.0,
) -> None:
    """Check every row and keep the ratings in $INTERP_HOME/ratings. Importing the same file again changes nothing."""
    from interp_assets.config.base import UserError
    from interp_assets.installation.home import Home
    from interp_assets.ratings.files import dictionaries_option, rateable
    from interp_assets.ratings.files import import_ratings as read_in

    home = Home.from_environment()
    if name is not None and (Path(name).name != name or name.startswith(".") or not name):
        raise UserError(f"--name {name!r} is no file name: leave out slashes and a dot at the beginning")
    there = rateable(home.lake, home.registry)
    dictionaries = dictionaries_option(dictionary or (), there.features)
    kind = "generated" if generated else None
    options = {"rater": rater, "dictionaries": dictionaries, "rater_kind": kind, "name": name, "max_bad_share": max_bad_share}
    read = read_in(home.ratings, there, file, **options, say=typer.echo)
    raters, unrated = sorted({one.rater for one in read.ratings}), sum(read.unrated.values())
    typer.echo(f"{len(read.ratings):,} ratings by {', '.join(raters) or 'nobody new'}; {unrated:,} rows are not yet rated")
    typer.echo("next: dg launch --assets human_ratings,human_correlation_report")


@rating.command("columns", epilog="Example: interp ratings columns")
def columns() -> None:
    """Print the meaning of each column of a rating file, as a table and as the first line of a CSV."""
    from interp_assets.domain.ratings.ratings import COLUMNS

    for name, meaning in COLUMNS.items():
        typer.echo(f"{name:<20} {meaning}")
    typer.echo(f"\n{','.join(COLUMNS)}")
