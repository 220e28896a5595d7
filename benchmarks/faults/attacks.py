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
    "reply_stores",
    "stores",
    "tables",
    "inputs",
    "servers",
    "endings",
    "processes",
    "signals",
    "dictionaries",
    "hub_cache",
    "places",
    "backfills",
    "doors",
    "explorers",
    "explorer_requests",
    "explorer_ratings",
    "explorer_processes",
    "exchanges",
    "exports",
    "gateways",
    "canary",
    "keys_left_behind",
    "watching",
    "killed_alerts",
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


SLOW_GROUPS = ("explorers", "explorer_requests", "explorer_ratings", "explorer_processes", "exports", "killed_alerts")
"""Groups that start a process or copy a home for each attack: the quick form has one attack of each of their kinds."""


def quick_attacks(attacks: list[Attack]) -> list[Attack]:
    """First one attack of each group; then one of each further kind, the slow groups last; then a second of each kind, but of the slow
    groups. So a machine that is too slow for all of them still reaches every group, and the more kinds the quicker it is."""
    kinds: dict[str, list[Attack]] = {}
    for one in attacks:
        kinds.setdefault(one.kind, []).append(one)
    by_group: dict[str, list[Attack]] = {}
    for own in kinds.values():
        by_group.setdefault(own[0].group, []).append(own[0])
    further = [one for group, own in by_group.items() if group not in SLOW_GROUPS for one in own[1:]]
    further += [one for group, own in by_group.items() if group in SLOW_GROUPS for one in own[1:]]
    seconds = [own[-1] for own in kinds.values() if len(own) > 1 and own[0].group not in SLOW_GROUPS]
    return [*(own[0] for own in by_group.values()), *further, *seconds]


def refusal(work: Callable[[], object], *errors: type[Exception]) -> Result | None:
    """REFUSED where the work ends in one of the errors with a message, None where it does not end in an error."""
    try:
        work()
    except errors as error:
        return Result(REFUSED, str(error).splitlines()[0][:160])
    return None
