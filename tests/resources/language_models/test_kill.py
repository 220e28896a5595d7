"""`kill -9` in the middle of 1,000 trials: the rerun asks what is missing and nothing else. The counting server is its own process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from resources.language_models.reply_store import ReplyStore

HERE = Path(__file__).parent
CONCURRENCY = 16
RUN = f"""
import sys
from pathlib import Path
from resources.language_models.ask_all import ask_all
from resources.language_models.interface import Message, Request
from resources.language_models.openai_server.model import OpenAIModel
from resources.language_models.reply_store import ReplyStore

model = OpenAIModel("stub", base_url=f"http://127.0.0.1:{{sys.argv[1]}}/v1", concurrency={CONCURRENCY})
requests = [Request((Message("user", f"trial {{i}}"),), max_reply_tokens=20) for i in range(1000)]
replies = {{index: reply.text for index, reply, _ in ask_all(model, requests, ReplyStore(Path(sys.argv[2])))}}
assert replies == {{i: f"reply to trial {{i}}" for i in range(1000)}}
"""


def test_a_killed_run_asks_only_the_missing_ones(tmp_path: Path) -> None:
    count, folder = tmp_path / "asked.txt", tmp_path / "replies"
    server = subprocess.Popen([sys.executable, str(HERE / "stub_server.py"), str(count), "0.01"], stdout=subprocess.PIPE, text=True)
    try:
        port = server.stdout.readline().strip()  # type: ignore[union-attr]
        run = [sys.executable, "-c", RUN, port, str(folder)]
        first = subprocess.Popen(run, cwd=HERE.parents[2])
        while _asked(count) < 400:
            assert first.poll() is None, "the run ended before it could be killed"
            time.sleep(0.005)
        os.kill(first.pid, signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        time.sleep(0.3)  # the server writes down what was under way
        asked, kept = _asked(count), ReplyStore(folder).size().n_replies
        assert 400 <= asked < 1000
        lost = asked - kept
        assert 0 <= lost <= 2 * CONCURRENCY  # what was under way, and what had just come in
        subprocess.run(run, cwd=HERE.parents[2], check=True)
        assert _asked(count) == 1000 + lost
        assert ReplyStore(folder).size().n_replies == 1000
        subprocess.run(run, cwd=HERE.parents[2], check=True)
        assert _asked(count) == 1000 + lost
    finally:
        server.terminate()
        server.wait()


def _asked(count: Path) -> int:
    return len(count.read_text().splitlines()) if count.exists() else 0
