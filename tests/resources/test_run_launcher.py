"""Whether a run's process still runs: its own, a dead one, a zombie, and another that was given its number."""

import os
import subprocess
import sys
import time

from resources.run_launcher import is_alive


def test_a_process_is_alive_until_it_dies_and_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert is_alive(process.pid, time.time())
        process.kill()
        deadline = time.monotonic() + 60
        while is_alive(process.pid, time.time()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_alive(process.pid, time.time())  # nobody has waited for it: it is a zombie
    finally:
        process.kill()
        process.wait()
    assert not is_alive(process.pid, time.time())


def test_a_younger_process_with_the_same_number_is_another_one() -> None:
    assert is_alive(os.getpid(), time.time())
    assert not is_alive(os.getpid(), noted=time.time() - 10 * 365 * 86_400)
