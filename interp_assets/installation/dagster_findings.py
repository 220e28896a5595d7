"""What `interp doctor` finds in Dagster's part of a home: its settings, its databases, their owner, and whether its storage answers."""

import contextlib
import os
import pwd
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from interp_assets.config.base import UserError
from interp_assets.installation.dagster_files import damaged_databases, room_remedy, unwritable
from interp_assets.installation.home import Home

Mark = Literal["ok", "FAIL"]
ANSWER_SECONDS = 20.0
"""Longest wait for Dagster's storage. Unit: seconds."""


def dagster_findings(home: Home) -> Iterator[tuple[Mark, str]]:
    """A mark and a text for each finding; nothing is written where Dagster has not run in this home."""
    settings = home.dagster / "dagster.yaml"
    if not home.dagster.exists():
        yield "ok", f"not started in this home yet; the first command that needs it writes {settings}"
        return
    problems = list(_not_ours(home.dagster, settings))
    if not problems and (why := unwritable(home.dagster)):
        problems = [f"{home.dagster} cannot be written: {why}. {room_remedy(why) or 'Make it writable'}"]
    if not problems:  # a database that cannot be written is no damaged database
        problems = [f"{path} is damaged: {why}" for path, why in damaged_databases(home.dagster).items()]
    if not problems and not settings.exists():
        yield "ok", f"the next command that needs it writes {settings}"
        return
    if not problems:
        told = _within(ANSWER_SECONDS, lambda: _answer(home))
        if not isinstance(told, Exception):
            yield "ok", f"{settings}: {told}"
            return
        problems = [str(told)]
    for problem in problems:
        yield "FAIL", problem


def _not_ours(*paths: Path) -> Iterator[str]:
    """A sentence for each file or folder that this user cannot read or write."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            owner = path.stat().st_uid
            if not os.access(path, os.R_OK | os.W_OK):
                yield (
                    f"{path} belongs to {_user(owner)}, and {_user(os.geteuid())} cannot read and write it: run as {_user(owner)}, or "
                    "change its owner or mode"
                )
            elif os.geteuid() == 0 and owner != 0:
                yield (
                    f"{path} belongs to {_user(owner)}, and this is root: what root writes here, {_user(owner)} cannot change. Run as "
                    f"{_user(owner)}"
                )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"the user {number}"


def _answer(home: Home) -> str:
    """What Dagster's storage, launcher and coordinator say, asked for the first time. Raises `UserError` where they do not work."""
    from dagster._core.instance.ref import InstanceRef

    from interp_assets.installation.instance import no_instance, opened_instance
    from interp_assets.orchestration.partitions import DICTIONARIES

    if not any(home.dagster.rglob("*.db")):
        try:
            stated = InstanceRef.from_dir(str(home.dagster))
            _ = stated.run_launcher, stated.run_coordinator
        except Exception as error:
            raise no_instance(home, error) from error
        storage = stated.storage_data
        if storage is not None and "sqlite" in storage.module_name and str(home.dagster) in storage.config_yaml:
            return "no runs yet"
    instance = opened_instance(home)
    try:
        runs = instance.get_runs_count()
        _ = instance.get_dynamic_partitions(DICTIONARIES.name or ""), instance.all_instigator_state()
        names = (type(one).__name__ for one in (instance.run_storage, instance.run_launcher, instance.run_coordinator))
        return f"{runs:,} runs; {', '.join(names)}"
    except Exception as error:
        raise no_instance(home, error) from error
    finally:
        instance.dispose()


def _within(seconds: float, ask: Callable[[], str]) -> str | Exception:
    """What `ask` returns or raises; an error where it takes longer. A thread that waits on is left behind."""
    answers: list[str | Exception] = []

    def asked() -> None:
        try:
            answers.append(ask())
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=asked, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else UserError(f"the storage that dagster.yaml names does not answer within {seconds:g} s: is it running?")
