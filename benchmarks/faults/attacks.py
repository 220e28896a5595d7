"""What an attack is, and the list of all of them by name. A module of attacks adds its own with `@attack`, and its name to GROUPS."""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFUSED = "refused with a message"
MENDED = "mended and said"
RIGHT = "right"
WRONG = "wrong silently"
HANG = "hang"
BLOCKS = "blocks everything"
SKIPPED = "skipped"
OUTCOMES = (REFUSED, MENDED, RIGHT, SKIPPED, WRONG, HANG, BLOCKS)
MUST_BE_ZERO = (WRONG, HANG, BLOCKS)

GROUPS = (
    "stores",
    "tables",
    "inputs",
    "servers",
    "endings",
    "processes",
    "dictionaries",
    "places",
    "backfills",
    "doors",
    "explorers",
    "explorer_processes",
    "exchanges",
    "exports",
    "gateways",
    "canary",
    "watching",
)
"""Modules of this package that hold attacks."""

PATIENCE = float(os.environ.get("INTERP_FAULTS_PATIENCE") or 1)
"""How many times as long as on an idle machine an attack may take before it is a hang."""


@dataclass(frozen=True)
class Result:
    """How an attack ended, and what was seen."""

    outcome: str
    seen: str = ""


@dataclass(frozen=True)
class Attack:
    """One attack: `run(folder, quick)` does it in an empty folder, and returns how it ended. An exception that it lets through blocks
    everything."""

    name: str
    group: str
    run: Callable[[Path, bool], Result]
    seconds: float
    kind: str


_ATTACKS: list[Attack] = []


def attack(name: str, /, seconds: float = 60.0, **arguments: Any) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Add a function as an attack; longer than `seconds` is a hang. `arguments` are given to it besides (folder, quick)."""

    def added(run: Callable[..., Result]) -> Callable[..., Result]:
        group = run.__module__.rpartition(".")[2]
        todo = lambda folder, quick: run(folder, quick, **arguments)  # noqa: E731
        _ATTACKS.append(Attack(f"{group}: {name}", group, todo, seconds * PATIENCE, f"{group}.{run.__name__}"))
        return run

    return added


def all_attacks() -> list[Attack]:
    """The attacks of all groups, in order."""
    for group in GROUPS:
        importlib.import_module(f"benchmarks.faults.{group}")
    return sorted(_ATTACKS, key=lambda one: GROUPS.index(one.group))


SLOW_GROUPS = ("explorers", "explorer_processes", "exports")
"""Groups that start a process or copy a home for each attack: the quick form has one attack of each of their kinds."""
QUICK_OF_A_KIND = 2


def quick_attacks(attacks: list[Attack]) -> list[Attack]:
    """One attack of each kind, by group; then a second attack of each kind, but of the slow groups, evenly over the kind.

    So a machine that is too slow for all of them still reaches every kind.
    """
    kinds: dict[str, list[Attack]] = {}
    for one in attacks:
        kinds.setdefault(one.kind, []).append(one)
    firsts = [own[0] for own in kinds.values()]
    seconds = [own[-1] for own in kinds.values() if len(own) >= QUICK_OF_A_KIND and own[0].group not in SLOW_GROUPS]
    return firsts + seconds


def refusal(work: Callable[[], object], *errors: type[Exception]) -> Result | None:
    """REFUSED where the work ends in one of the errors with a message, None where it does not end in an error."""
    try:
        work()
    except errors as error:
        return Result(REFUSED, str(error).splitlines()[0][:160])
    return None
