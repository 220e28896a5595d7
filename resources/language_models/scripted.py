"""The `scripted` back end: answers by a rule. It is deterministic, needs no weights, and counts its requests. A fake that ships."""

from collections.abc import Callable, Iterator, Sequence

from resources.language_models.interface import Capability, ModelIdentity, Reply, Request

Rule = Callable[[Request], str | Reply]


def token_estimate(text: str) -> int:
    """Number of words of a text: the tokens of this stand-in."""
    return len(text.split())


class ScriptedModel:
    """Answers each request with `rule(request)`: a text, or a whole reply (such as an error, or a reply with probabilities)."""

    def __init__(self, rule: Rule, name: str = "rule") -> None:
        self._rule = rule
        self._name = name
        self.asked: list[Request] = []

    @property
    def identity(self) -> ModelIdentity:
        """The rule's name."""
        return ModelIdentity("scripted", self._name, "1")

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All abilities: the rule decides."""
        return frozenset({"answer_probabilities", "structured_reply", "json_reply", "prompt_logprobs"})

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Replies in order."""
        for index, request in enumerate(requests):
            self.asked.append(request)
            answer = self._rule(request)
            if isinstance(answer, str):
                prompt_tokens = sum(token_estimate(message.content) for message in request.messages)
                answer = Reply(answer, "stop", prompt_tokens, 0, token_estimate(answer), 0.0)
            yield index, answer

    def close(self) -> None:
        """Nothing to free."""
