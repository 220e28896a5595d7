"""A chat for models without a system role. Pure."""

from collections.abc import Mapping, Sequence


def folded(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The turns without a system role: the system text is put before the user's first turn, and adjacent turns of one role become one
    turn."""
    system = [message["content"] for message in messages if message["role"] == "system"]
    turns = [dict(message) for message in messages if message["role"] != "system"]
    if system:
        if not turns or turns[0]["role"] != "user":
            turns.insert(0, {"role": "user", "content": ""})
        turns[0]["content"] = "\n\n".join([*system, turns[0]["content"]] if turns[0]["content"] else system)
    joined: list[dict[str, str]] = []
    for turn in turns:
        if joined and joined[-1]["role"] == turn["role"]:
            joined[-1] = {**joined[-1], "content": joined[-1]["content"] + "\n\n" + turn["content"]}
        else:
            joined.append(turn)
    return joined
