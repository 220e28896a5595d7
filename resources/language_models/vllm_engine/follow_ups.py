"""Follow-ups: further tokens to ask an engine for where its output leaves something open, and the probabilities read from all outputs. Pure
but for the outputs.

An engine's output holds, for each token of the reply and each place of the prompt, log-probabilities by token id. For a list of choices
whose options fork after their first token, only the way of the reply is in the output; for a suffix, only the likeliest tokens are, and
nothing at places that came out of the prefix cache.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resources.language_models.interface import ChoiceList, Request
from resources.language_models.tokens.answer_places import answer_places
from resources.language_models.tokens.choice_tokens import END, ChoiceTokens, Spelling, forks, option_logprobs
from resources.language_models.tokens.suffix_tokens import SuffixTokens

NEGLIGIBLE = 1e-5  # of the probability of all options at a place: options that can have no more count as 0


@dataclass(frozen=True)
class FollowUp:
    """The log-probabilities of `token_ids` after `prompt`, for the fork or place that `key` names."""

    key: object
    prompt: tuple[int, ...]
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class ListAnswer:
    """One answer of a list: the reply's token with which the answer begins, the options' spellings there, and the token that ends the
    answer."""

    place: int
    spellings: tuple[Spelling, ...]
    end: int

    def token(self, follower: int) -> int:
        """The token of a follower at a fork; END stands for the token that ends the answer."""
        return self.end if follower == END else follower


@dataclass
class EngineRequest:
    """A request under way: its tokens, the engine's output once it has come, and the results of its follow-ups, by key.

    `whole`: the engine was asked to compute the whole prompt, since too much of the suffix came out of the prefix cache.
    """

    request: Request
    prompt: list[int]
    suffix: SuffixTokens
    output: Any = None
    answers: list[ListAnswer] | None = None
    found: dict[object, dict[int, float]] = field(default_factory=dict)
    whole: bool = False
    missing: int = 1
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def count(self, output: Any, seconds: float) -> None:
        """Add the cost of one output."""
        self.prompt_tokens += len(output.prompt_token_ids)
        self.cached_tokens += output.num_cached_tokens or 0
        self.completion_tokens += len(output.outputs[0].token_ids)
        self.seconds += seconds
        self.missing -= 1


def answers_of(ids: Spelling, texts: Sequence[str], choices: ChoiceList, tokens: ChoiceTokens) -> list[ListAnswer] | None:
    """The answers in a reply of these tokens; None where the reply has no such list, or spells an option in another way."""
    places = answer_places(texts, choices)
    if places is None:
        return None
    answers = []
    for number, (place, begin, end) in enumerate(places):
        known = (tokens.later, tokens.first) if number else (tokens.first, tokens.later)
        option = choices.options.index("".join(texts[place:])[begin:end])
        spellings = next((k for k in known if ids[place : place + len(k[option])] == k[option]), None)
        if spellings is None:
            return None
        answers.append(ListAnswer(place, spellings, tokens.end(number + 1 == choices.count)))
    return answers


def unread_forks(engine_request: EngineRequest) -> list[FollowUp]:
    """The follow-ups for all forks of a list of choices that the reply itself did not pass."""
    reply = tuple(engine_request.output.outputs[0].token_ids)
    return [
        FollowUp((number, path), (*engine_request.prompt, *reply[: answer.place], *path), tuple(map(answer.token, followers)))
        for number, answer in enumerate(engine_request.answers or [])
        for path, followers in forks(answer.spellings).items()
        if reply[answer.place : answer.place + len(path)] != path
    ]


def unread_beginning(engine_request: EngineRequest) -> int:
    """Number of the suffix's first tokens without log-probabilities: the prefix cache held the token before each of them."""
    output, suffix = engine_request.output, engine_request.suffix.ids
    if not suffix:
        return 0
    known = min(len(engine_request.prompt) - (output.num_cached_tokens or 0), len(output.prompt_logprobs)) - 1
    return max(len(suffix) - known, 0)


def unread_places(engine_request: EngineRequest) -> list[FollowUp]:
    """The follow-ups for the places of a suffix whose tokens or options the engine did not list all.

    An option needs none where it can have next to none of the options' probability: see `negligible`.
    """
    suffix = engine_request.suffix
    before, first = engine_request.prompt[: len(engine_request.prompt) - len(suffix.ids)], unread_beginning(engine_request)
    options = dict(zip(suffix.places, suffix.option_ids, strict=True))
    wanted = [(token, *options.get(place, ())) for place, token in enumerate(suffix.ids)]

    def is_read(place: int, token: int, *options: int) -> bool:
        listed = engine_request.output.prompt_logprobs[place - len(wanted)]
        return token in listed and negligible(listed, options)

    return [
        FollowUp(place, (*before, *suffix.ids[:place]), ids)
        for place, ids in enumerate(wanted)
        if place < first or not is_read(place, *ids)
    ]


def negligible(listed: Mapping[int, Any], options: Sequence[int]) -> bool:
    """Whether the options that the engine did not list at a place have at most NEGLIGIBLE of all options' probability, all together.

    Each of them is at most as likely as the least likely of the listed tokens that are the likeliest of all. With all options listed, True.
    """
    unlisted = sum(option not in listed for option in options)
    if not unlisted:
        return True
    least = min(one.logprob for one in listed.values() if one.rank <= len(listed))
    known = sum(math.exp(listed[option].logprob) for option in options if option in listed)
    return unlisted * math.exp(least) <= NEGLIGIBLE * known


def list_probabilities(engine_request: EngineRequest) -> tuple[tuple[float, ...], ...] | None:
    """P(option) for each answer, from the log-probabilities of the reply and of its follow-ups; None without answers."""
    if engine_request.answers is None:
        return None
    listed, probabilities = engine_request.output.outputs[0].logprobs, []
    for number, answer in enumerate(engine_request.answers):
        here: dict[Spelling, dict[int, float]] = {}
        for path, followers in forks(answer.spellings).items():
            found = engine_request.found.get((number, path)) or place_logprobs(listed[answer.place + len(path)])
            here[path] = {follower: found[answer.token(follower)] for follower in followers}
        probabilities.append(tuple(math.exp(value) for value in option_logprobs(answer.spellings, here)))
    return tuple(probabilities)


def suffix_probabilities(engine_request: EngineRequest) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """Log-probabilities of the suffix's tokens, and at its places the options' probabilities, renormalised over the options."""
    suffix = engine_request.suffix

    def logprob(place: int, token: int) -> float:
        found = engine_request.found.get(place)
        if found is not None:
            return found[token]
        listed = engine_request.output.prompt_logprobs[place - len(suffix.ids)].get(token)
        return -math.inf if listed is None else float(listed.logprob)

    chosen = tuple(logprob(place, token) for place, token in enumerate(suffix.ids))
    asked = zip(suffix.places, suffix.option_ids, strict=True)
    return chosen, tuple(_renormalised([logprob(place, token) for token in ids]) for place, ids in asked)


def place_logprobs(place: Mapping[int, Any]) -> dict[int, float]:
    """Natural-log probabilities by token id, of one place of the engine's output."""
    return {token: float(one.logprob) for token, one in place.items()}


def _renormalised(logprobs: Sequence[float]) -> tuple[float, ...]:
    """Probabilities that sum to 1."""
    weights = [math.exp(value - max(logprobs)) for value in logprobs]
    return tuple(weight / sum(weights) for weight in weights)
