"""Attacks on all that results rest on, each by name with its outcome; last a line of JSON. Status 1 where one got through.

    python -m benchmarks.faults [--quick] [--only WORDS]

Attacks run in a worker process, one after the other. A worker that takes too long over one is killed, and the attack is a hang; one that
dies over an attack, or lets an exception through, has been blocked by it. A new worker goes on with the next. On a machine that is busy
with other work INTERP_FAULTS_PATIENCE=10 gives every attack ten times as long.

The quick form has an attack or two of each kind, with few draws of the random ones, and ends after QUICK_SECONDS; the last lines say how
many of each group are in the full form alone, and which were not reached.
"""

import argparse
import json
import logging
import math
import queue
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks.faults.attacks import (
    BLOCKS,
    HANG,
    MUST_BE_ZERO,
    OUTCOMES,
    PATIENCE,
    SKIPPED,
    Attack,
    Result,
    all_attacks,
    quick_attacks,
)

START_SECONDS = 120.0
QUICK_SECONDS = 110.0


def work(attacks: list[Attack], quick: bool) -> None:
    """Run attacks, and print how each ended."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup every command that an attack starts would go on after a hangup
    print(json.dumps("ready"), flush=True)
    for one in attacks:
        folder = Path(tempfile.mkdtemp(prefix="fault-"))
        try:
            result = one.run(folder, quick)
        except BaseException as error:
            result = Result(BLOCKS, f"{type(error).__name__}: {str(error)[:200]}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(json.dumps([one.name, result.outcome, result.seen]), flush=True)


class Worker:
    """A process that runs the attacks from one of them on."""

    def __init__(self, first: int, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "benchmarks.faults", "--worker", str(first), *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._ready = self.line(START_SECONDS * PATIENCE)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def line(self, seconds: float) -> str | None:
        """The next line, None where the process has died. Raises `queue.Empty` after the time."""
        return self._lines.get(timeout=seconds)

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def outcomes(attacks: list[Attack], arguments: list[str], most_seconds: float) -> list[tuple[str, Result]]:
    """How each attack ended, as far as the time reaches; a line for each, and one for each group."""
    ended: list[tuple[str, Result]] = []
    began = group_began = time.monotonic()
    worker = Worker(0, arguments)
    for number, one in enumerate(attacks):
        attack_began = time.monotonic()
        if attack_began - began > most_seconds:
            break
        try:
            line = worker.line(one.seconds)
            result = Result(BLOCKS, "the process died") if line is None else Result(*json.loads(line)[1:])
        except queue.Empty:
            line, result = None, Result(HANG, f"no end after {one.seconds:g} s")
        if line is None:
            worker.end()
            worker = Worker(number + 1, arguments)
        ended.append((one.name, result))
        seen = f"   {result.seen}" if result.outcome in (*MUST_BE_ZERO, SKIPPED) else ""
        print(f"{time.monotonic() - attack_began:6.1f} s {result.outcome:<24} {one.name}{seen}", flush=True)
        if number + 1 == len(attacks) or attacks[number + 1].group != one.group:
            print(f"-- {one.group}: {time.monotonic() - group_began:.0f} s; {number + 1} of {len(attacks)} attacks", flush=True)
            group_began = time.monotonic()
    worker.end()
    return ended


def core_seconds() -> float:
    """Seconds of one core that this process and all that it has waited for have taken."""
    return sum(one.ru_utime + one.ru_stime for one in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def main() -> int:
    """The number of attacks that got through, as a status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer draws of random attacks; under two minutes")
    parser.add_argument("--only", default="", help="only attacks whose names hold these words")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--count", action="store_true", help="print the number of attacks of each group, and run none")
    options = parser.parse_args()
    every = [one for one in all_attacks() if options.only in one.name]
    attacks = quick_attacks(every) if options.quick else every
    if options.count:
        print(json.dumps(Counter(one.group for one in every)))
        return 0
    if options.worker is not None:
        work(attacks[options.worker :], options.quick)
        return 0
    whole = subprocess.Popen([sys.executable, "-m", "benchmarks.faults", "--count", "--only", options.only], stdout=subprocess.PIPE)
    started, limit = time.monotonic(), QUICK_SECONDS * PATIENCE if options.quick else math.inf
    ended = outcomes(attacks, [*(["--quick"] if options.quick else []), "--only", options.only], limit)
    counts = Counter(result.outcome for _, result in ended)
    through = [name for name, result in ended if result.outcome in MUST_BE_ZERO]
    not_reached = [one.name for one in attacks[len(ended) :]]
    left = Counter(json.loads(whole.communicate()[0])) - Counter(one.group for one in attacks)
    print(f"in the full form alone: {', '.join(f'{count} of {group}' for group, count in left.items()) or 'none'}")
    print(f"not reached: {', '.join(not_reached) or 'none'}")
    summary = {
        "benchmark": "faults", "quick": options.quick, "attacks": len(ended), **{name: counts[name] for name in OUTCOMES},
        "got_through": through, "not_reached": len(not_reached), "in_the_full_form_alone": left.total(),
        "seconds": round(time.monotonic() - started, 1), "core_seconds": round(core_seconds(), 1),
    }  # fmt: skip
    print(json.dumps(summary))
    return int(bool(through))


if __name__ == "__main__":
    sys.exit(main())
