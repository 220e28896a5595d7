"""An interrupt that is dropped comes again until the command ends by it, and clean-up is left alone."""

import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from interp_assets.installation.interrupts import INTERRUPTED

COMMAND = """
import ctypes, functools, gc, os, signal, subprocess, sys, threading, time, weakref
from concurrent.futures import ThreadPoolExecutor
from interp_assets.cli import main
from interp_assets.installation import interrupts, signal_watch
from interp_assets.installation.process_group import started_group

number = int(sys.argv[1])
def ask(*_):
    os.kill(os.getpid(), number)
    for _ in range(10):
        pass
def later(seconds=0.3, n=1):
    [threading.Timer(seconds * (i + 1), os.kill, (os.getpid(), number)).start() for i in range(n)]
class Dropping:
    def __del__(self):
        ask()
@main.app.command()
def wait() -> None:
{body}
sys.argv = ["interp", "wait"]
main.main()
"""

DROPPED = {
    "__del__": "Dropping(); time.sleep(60)",
    "a callback of a weak reference": "one = Dropping.__class__('One', (), {})(); kept = weakref.ref(one, ask); del one; time.sleep(60)",
    "a callback of the garbage collector": "gc.callbacks.append(ask); gc.collect(); gc.callbacks.clear(); time.sleep(60)",
    "a callback of C": "ctypes.CFUNCTYPE(None)(ask)(); time.sleep(60)",
    "a bare except": """
        try:
            ask()
        except:
            pass
        time.sleep(60)""",
    "an error in its place": """
        try:
            ask()
        except BaseException as error:
            raise ValueError("of a library") from error""",
    "an error that forgets it": """
        def asks():
            try:
                ask()
            except BaseException:
                return True
        if asks():
            raise ValueError("of a library")""",
    "a program that keeps it": """
        signal_watch.KEPT_SECONDS = 0.3
        kept = []
        try:
            ask()
        except BaseException as error:
            kept.append(error)
        time.sleep(60)""",
    "a library's handler that forgets": """
        before = signal.signal(number, lambda *_: None)
        ask()
        signal.signal(number, before)
        time.sleep(60)""",
    "a started program": """
        with started_group(["sleep", "60"], os.environ) as process:
            Dropping()
            process.wait()""",
    "the command's last step": "Dropping()",
    "a pool of threads": """
        with ThreadPoolExecutor(1) as pool:
            pool.submit(time.sleep, 0.2)
            Dropping()
            pool.shutdown(wait=True)
            time.sleep(60)""",
    "the wait for a pool": "later(); ThreadPoolExecutor(1).submit(threading.Event().wait).result()",
    "a sleep": "later(); time.sleep(60)",
    "a program that is waited for": "later(); subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])",
    "the start of a server": """
        import uvicorn
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                for word in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{word}.complete"})
        Dropping()
        uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical")).run()
        time.sleep(60)""",
    "a server's first step": """
        import uvicorn
        async def app(scope, receive, send):
            await receive()
            Dropping()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical")).run()
        time.sleep(60)""",
}
CLEANING = {
    "long clean-up": """
        try:
            ask()
        finally:
            time.sleep(0.4)
            print("cleaned", flush=True)""",
    "clean-up that meets an error of its own": """
        try:
            ask()
        finally:
            try:
                raise OSError
            except OSError:
                time.sleep(0.4)
                print("cleaned", flush=True)""",
    "an interrupt that is raised later": """
        try:
            ask()
        except KeyboardInterrupt as error:
            kept = error
        time.sleep(0.4)
        print("cleaned", flush=True)
        raise kept""",
}
SECOND = """
        later(0.3, 2)
        try:
            time.sleep(60)
        finally:
            time.sleep(60)"""


def ended(body: str, number: int, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    indented = body if body.startswith("\n") else f"        {body}"
    command = [sys.executable, *options, "-c", COMMAND.replace("{body}", indented), str(number)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("place", DROPPED)
def test_an_interrupt_that_is_dropped_comes_again(place: str) -> None:
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    number = numbers[list(DROPPED).index(place) % (2 if "server" in place else 3)]
    done = ended(DROPPED[place], number, ["-O"] if place == "__del__" else [])
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", f"{INTERRUPTED}\n")


def test_the_load_of_an_extension_is_not_interrupted() -> None:
    """DuckDB's extension aborts the process where Python code that it calls while it is loaded raises."""
    body = """
        asks = lambda event, arguments: ask() if event == "import" and arguments[0] == "_duckdb" and arguments[1] else None
        sys.addaudithook(asks)
        try:
            import duckdb
        finally:
            print("_duckdb" in sys.modules, flush=True)
        time.sleep(60)"""
    done = ended(body, signal.SIGTERM)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "True\n", f"{INTERRUPTED}\n")


@pytest.mark.parametrize("place", CLEANING)
def test_clean_up_is_not_interrupted_again(place: str) -> None:
    done = ended(CLEANING[place], signal.SIGTERM)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "cleaned\n", f"{INTERRUPTED}\n")


def test_a_second_signal_interrupts_clean_up() -> None:
    done = ended(SECOND, signal.SIGINT)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, f"{INTERRUPTED}\n")


def test_a_mistake_after_an_interrupt_that_is_not_of_it_is_said_too() -> None:
    body = 'from interp_assets.cli.errors import fail; Dropping(); fail("wrong")'
    done = ended(body, signal.SIGTERM)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, f"error: wrong\n{INTERRUPTED}\n")
