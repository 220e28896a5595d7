"""The stand-in judge behind an OpenAI-compatible server of its own process, which writes down every question that it answers.

python scripted_server.py PORT COUNT_FILE LATENCY_SECONDS
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "resources" / "language_models"))

from stub_server import StubServer

from resources.fakes import scripted_answer
from resources.language_models.interface import ChoiceList, FreeText, Message, Request
from resources.language_models.openai_server.model import PROBE


class ScriptedServer(StubServer):
    """Answers as `resources.fakes` does, lists of choices included."""

    def answer(self, body: dict[str, Any], question: str) -> dict[str, Any]:
        """The completion."""
        regex = body.get("structured_outputs", {}).get("regex", "")
        lists = re.findall(r"\(([^()]+)\)", regex)
        reply_format = ChoiceList(len(lists), tuple(lists[0].split("|"))) if lists else FreeText()
        messages = tuple(Message(one["role"], one["content"]) for one in body["messages"])
        text = scripted_answer(Request(messages, body["max_tokens"], reply_format=reply_format))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": len(question.split()), "completion_tokens": len(str(text).split())}
        return {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice], "usage": usage}

    def counted(self, body: dict[str, Any], question: str) -> str | None:
        """All but those that find out what the server offers, by all that is asked for."""
        return None if body["messages"][0]["content"] == PROBE[0].content else json.dumps(body, sort_keys=True)


if __name__ == "__main__":
    server = ScriptedServer(port=int(sys.argv[1]), count_file=Path(sys.argv[2]), latency_seconds=float(sys.argv[3]))
    print(server.server_address[1], flush=True)
    server.thread.join()
