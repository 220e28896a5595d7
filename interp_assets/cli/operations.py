"""`interp usage`, `interp thin` and `interp alerts`: what a home takes, what it lets go, and whom it tells."""

from typing import Annotated

import typer

from interp_assets.cli.errors import fail
from interp_assets.cli.output import OutputFormat, print_frame


def usage(
    output: Annotated[
        OutputFormat, typer.Option("--format", help="how to print; csv and json print the tables' sizes alone")
    ] = OutputFormat.table,
    limit: Annotated[int, typer.Option(min=0, help="most rows of a table; 0 for all")] = 20,
) -> None:
    """Bytes by dictionary and table, bytes of the rest of the home, and tokens and money by month."""
    import polars as pl

    from interp_assets.installation.home import Home
    from interp_assets.installation.usage import bytes_of_no_partition, other_sizes, spent_by_month, table_sizes

    home = Home.from_environment()
    sizes = table_sizes(home)
    if output is not OutputFormat.table:
        print_frame(sizes, output, 0)
        return
    megabytes = (pl.col("bytes") / 1e6).round(1).alias("MB")
    n_bytes, n_partitions, n_rows = (int(sizes[column].sum()) for column in ("bytes", "partitions", "rows"))
    there = "" if home.root.is_dir() else ", which is not there; INTERP_HOME names another"
    typer.echo(f"the home {home.root}{there}")
    typer.echo(f"the lake {home.lake.root}: {n_bytes / 1e6:,.1f} MB in {n_partitions:,} partitions, {n_rows:,} rows")
    if stray := bytes_of_no_partition(home):
        typer.echo(f"files in the lake that belong to no complete partition, of a run that writes or was killed: {stray / 1e6:,.1f} MB")
    sizes = sizes.with_columns(pl.col("dictionary").fill_null("(shared)"))
    for column in ("table", "dictionary"):
        summed = sizes.group_by(column).agg(pl.col("partitions").sum(), pl.col("rows").sum(), pl.col("bytes").sum())
        print_frame(summed.sort("bytes", column, descending=[True, False]).with_columns(megabytes).drop("bytes"), output, limit)
    others = [(name, round(size / 1e6, 1)) for name, size in other_sizes(home).items()]
    typer.echo("beside the lake:")
    print_frame(pl.DataFrame(others, {"in the home": pl.String, "MB": pl.Float64}, orient="row"), output, limit)
    typer.echo("replies of language models by month, each counted once:")
    print_frame(spent_by_month(home), output, 0)


def thin(
    yes: Annotated[bool, typer.Option("--yes", help="remove it; without this option nothing is removed")] = False,
) -> None:
    """Say what the rules of `retention:` in settings.yaml let go, and with --yes remove it."""
    from interp_assets.installation.home import Home
    from interp_assets.installation.retention import planned_thinning
    from interp_assets.installation.retention import thin as remove

    home = Home.from_environment()
    planned = planned_thinning(home)
    typer.echo("\n".join(planned.lines()))
    if planned.is_empty:
        return
    if yes:
        remove(home, planned, typer.echo)
    else:
        typer.echo(f"{planned.n_bytes / 1e6:,.1f} MB of tables. Nothing is removed yet: `interp thin --yes` removes it")


def alerts(
    test: Annotated[bool, typer.Option("--test", help="send a test alert to every channel")] = False,
) -> None:
    """Say where alerts go and for which events, and with --test send one."""
    from interp_assets.alerting.sending import Alert, send
    from interp_assets.installation.home import Home

    settings = Home.from_environment().settings.alerts
    if not settings.is_on:
        fail("no channel for alerts: set alerts: {webhook_env: NAME} or alerts: {email: …} in settings.yaml; see docs/automation.md")
    typer.echo(f"alerts for {', '.join(settings.on) or 'no event'}")
    if not test:
        return
    outcomes = send(settings, Alert("test", "a test alert of interp", "Alerts of this site come here.", settings.ui_url))
    for channel, problem in outcomes.items():
        typer.echo(f"{channel}: {problem or 'taken'}")
    if any(outcomes.values()):
        raise typer.Exit(1)
