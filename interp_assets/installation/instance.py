"""Dagster's instance of a home, opened so that a fault of its settings is a message."""

import dagster as dg

from interp_assets.config.base import UserError
from interp_assets.installation.dagster_files import database_problem
from interp_assets.installation.home import Home

MOST_CHARACTERS = 300


def opened_instance(home: Home) -> dg.DagsterInstance:
    """The instance, to be closed by the caller. Raises `UserError` naming dagster.yaml where its settings or its storage do not work."""
    try:
        return dg.DagsterInstance.from_config(str(home.dagster))
    except OSError:
        raise
    except Exception as error:  # errors of YAML, of Dagster's configuration, of imports, and of databases
        raise no_instance(home, error) from error


def no_instance(home: Home, error: Exception) -> UserError:
    """The message for an error that the settings or the storage of Dagster raise."""
    if problem := database_problem(error, home.dagster):
        return UserError(problem)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[1:] if len(lines) > 1 and lines[0].endswith(":") else lines)[:MOST_CHARACTERS] or type(error).__name__
    return UserError(
        f"Dagster's settings in {home.dagster / 'dagster.yaml'} do not work: {said}. Correct the file, or move it away: the "
        "next command writes a new one. Results are not in it."
    )
