"""The `vllm` back end: a vLLM engine in this process, one flat batch for all requests of a run. For GPUs; a CPU engine exists.

    scorer: {backend: vllm, model: owner/model, options: {dtype: bfloat16, tensor_parallel_size: 2, gpu_memory_utilization: 0.85}}

Prefix caching is on, and `ask_all` puts requests with the same leading messages side by side. A list of choices is decoded under a regular
expression, and the engine returns the log-probabilities of just the options, so that the answers' probabilities are exact. Where that
leaves something open (options that begin alike, of which the reply took another way; an option unlisted at a place of a suffix), one
more token is asked for after the prompt, the reply up to there and the way in question: a follow-up, which the prefix cache makes cheap.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resources.language_models.answer_places import answer_places
from resources.language_models.choice_tokens import END, ChoiceTokens, Spelling, choice_tokens, forks, option_logprobs
from resources.language_models.interface import (
    Capability,
    ChoiceList,
    JsonReply,
    ModelIdentity,
    Reply,
    Request,
    UnsupportedRequest,
    refuse_unsupported,
)
from resources.language_models.prompt_tokens import prompt_token_ids
from resources.language_models.suffix_tokens import SuffixTokens, suffix_tokens

MAX_WAITING = 2_048  # requests handed to the engine at once: enough to keep it full, few enough to begin at once
ANSWER_TOKENS = 3  # of a list's reply, beside the option itself, for each answer
MOST_LISTED = 20  # alternatives that the engine lists at a place of a prompt, unless it was made to list more
MOST_ASKED_ABOUT = 128  # tokens whose log-probabilities the engine gives at each place of a reply


@dataclass(frozen=True)
class _FollowUp:
    """The log-probabilities of `token_ids` after `prompt`, for the fork or place that `key` names."""

    key: object
    prompt: tuple[int, ...]
    token_ids: tuple[int, ...]


@dataclass
class _Open:
    """A request under way: its tokens, the engine's output when it has come, and what its follow-ups have found, by key."""

    request: Request
    prompt: list[int]
    suffix: SuffixTokens
    output: Any = None
    found: dict[object, dict[int, float]] = field(default_factory=dict)
    missing: int = 1
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def count(self, output: Any, seconds: float) -> None:
        """Add what one of its outputs cost."""
        self.prompt_tokens += len(output.prompt_token_ids)
        self.cached_tokens += output.num_cached_tokens or 0
        self.completion_tokens += len(output.outputs[0].token_ids)
        self.seconds += seconds
        self.missing -= 1


class VLLMModel:
    """A vLLM engine. Weights load on construction and are freed by `close`."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        dtype: str = "auto",
        tensor_parallel_size: int = 1,
        quantization: str | None = None,
        max_model_len: int | None = None,
        gpu_memory_utilization: float = 0.9,
        max_num_seqs: int | None = None,
        structured: bool = True,
        engine_options: dict[str, Any] | None = None,
    ) -> None:
        """Load `model` (see `resources.weights.resolve_model_folder`); arguments are vLLM's, `engine_options` whatever else it takes.

        `structured` False leaves lists of choices to the prompt alone: for measuring what the constraint is worth.
        """
        from vllm import LLM

        from resources.weights import resolve_model_folder

        folder = resolve_model_folder(model, revision)
        options: dict[str, Any] = {"max_num_seqs": max_num_seqs, **(engine_options or {})}
        self._llm: Any = LLM(
            model=folder.location,
            revision=folder.revision if folder.hub_id else None,
            dtype=dtype,
            tensor_parallel_size=tensor_parallel_size,
            quantization=quantization,
            max_model_len=max_model_len,
            gpu_memory_utilization=gpu_memory_utilization,
            enable_prefix_caching=True,
            **{key: value for key, value in options.items() if value is not None},
        )
        self._tokenizer: Any = self._llm.get_tokenizer()
        self._structured = structured
        self._scores_tokens = bool(getattr(self._llm.llm_engine.vllm_config, "use_v2_model_runner", False))
        self._spellings: dict[ChoiceList, ChoiceTokens] = {}
        held = str(self._llm.llm_engine.model_config.dtype).removeprefix("torch.")
        how = [folder.revision, held, *([quantization] if quantization else []), *([] if structured else ["unstructured"])]
        self._identity = ModelIdentity("vllm", model, "-".join(how))
        self._batches = 0

    @property
    def identity(self) -> ModelIdentity:
        """The model; its numeric type and quantisation are part of the revision, since they can change a reply."""
        return self._identity

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Probabilities, constrained replies (unless turned off) and log-probabilities of the prompt."""
        always: frozenset[Capability] = frozenset({"answer_probabilities", "prompt_logprobs"})
        return frozenset({*always, "structured_reply", "json_reply"}) if self._structured else always

    def close(self) -> None:
        """Free the weights and end the engine's processes; the model cannot be used afterwards."""
        import gc

        if self._llm is None:
            return
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()
        cleanup_dist_env_and_memory()

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Replies as the engine finishes them. `seconds` are shares of the engine's steps in which a reply, or a follow-up, ended.

        A prompt that is too long for the model is an error reply. Closing the iterator takes back what is under way. Raises
        `UnsupportedRequest` before anything is asked.
        """
        refuse_unsupported(self, requests)
        suffixes = [self._refuse_undecidable(request) for request in requests]
        engine = self._llm.llm_engine
        longest = engine.model_config.max_model_len
        self._batches += 1
        waiting: dict[str, tuple[int, _FollowUp | None]] = {}
        engine_ids: dict[str, str] = {}
        opened: dict[int, _Open] = {}
        follow_ups: deque[tuple[int, _FollowUp]] = deque()
        todo = iter(enumerate(requests))
        last = time.perf_counter()

        def hand_in(index: int, follow_up: _FollowUp | None, prompt: Sequence[int], parameters: Any) -> None:
            name = f"{self._batches}-{index}-{len(engine_ids)}"
            waiting[name] = (index, follow_up)
            engine_ids[name] = engine.add_request(name, {"prompt_token_ids": list(prompt)}, parameters) or name

        try:
            while True:
                while follow_ups:
                    index, follow_up = follow_ups.popleft()
                    hand_in(index, follow_up, follow_up.prompt, self._follow_up_parameters(follow_up))
                while len(waiting) < MAX_WAITING and (item := next(todo, None)) is not None:
                    index, request = item
                    prompt = [*prompt_token_ids(self._tokenizer, request), *suffixes[index].ids]
                    parameters = self._parameters(request, suffixes[index], len(prompt))
                    if len(prompt) + parameters.max_tokens > longest:
                        yield index, _too_long(len(prompt), parameters.max_tokens, longest)
                        continue
                    opened[index] = _Open(request, prompt, suffixes[index])
                    hand_in(index, None, prompt, parameters)
                if not waiting:
                    return
                finished = [output for output in engine.step() if output.finished]
                now = time.perf_counter()
                share, last = ((now - last) / len(finished), now) if finished else (0.0, last)
                for output in finished:
                    index, follow_up = waiting.pop(output.request_id)
                    open_ = opened[index]
                    open_.count(output, share)
                    if self._scores_were_cut(open_, output):
                        open_.missing += 1
                        hand_in(index, None, open_.prompt, self._parameters(open_.request, open_.suffix, len(open_.prompt), cached=False))
                    elif follow_up is not None:
                        open_.found[follow_up.key] = _logprobs(output.outputs[0].logprobs[0])
                    else:
                        open_.output = output
                        more = [*self._unread_forks(open_), *self._unread_places(open_)]
                        open_.missing += len(more)
                        follow_ups.extend((index, one) for one in more)
                    if not open_.missing:
                        yield index, self._reply(opened.pop(index))
        finally:
            if waiting and self._llm is not None:
                engine.abort_request([engine_ids[name] for name in waiting], internal=True)

    def _refuse_undecidable(self, request: Request) -> SuffixTokens:
        """The suffix's tokens; raises `UnsupportedRequest` for options that the tokenizer or the engine cannot tell apart."""
        if isinstance(request.reply_format, ChoiceList) and (n := len(self._spelled(request.reply_format).ids)) > MOST_ASKED_ABOUT:
            raise UnsupportedRequest(
                f"a list of {n} tokens to choose from; the engine compares {MOST_ASKED_ABOUT} at most: use fewer options"
            )
        return suffix_tokens(self._tokenizer, request)

    def _spelled(self, choices: ChoiceList) -> ChoiceTokens:
        """The tokens of a list of choices, worked out once."""
        if choices not in self._spellings:
            self._spellings[choices] = choice_tokens(self._tokenizer, choices)
        return self._spellings[choices]

    def _scores_were_cut(self, open_: _Open, output: Any) -> bool:
        """Whether the prefix cache held some of the suffix itself, which then was not scored."""
        return bool(open_.suffix.ids) and self._scores_tokens and output.prompt_token_id_logprobs is None

    def _parameters(self, request: Request, suffix: SuffixTokens | None = None, prompt_tokens: int = 0, cached: bool = True) -> Any:
        """vLLM's sampling parameters for one request, whose suffix ends its `prompt_tokens`; `cached` lets a suffix's prompt be cached."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        form = request.reply_format
        stop = [*request.stop, "\n"] if request.line_prefix else list(request.stop)
        options: dict[str, Any] = self._suffix_parameters(suffix, prompt_tokens, cached) if suffix and suffix.ids else {}
        max_tokens = request.max_reply_tokens
        if max_tokens == 0:
            return SamplingParams(temperature=0, max_tokens=1, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY, **options)
        if isinstance(form, ChoiceList):
            # vLLM returns the chosen token beside these, and alternatives are needed where an option is chosen only.
            tokens = self._spelled(form)
            options["logprob_token_ids"] = tokens.ids
            if self._structured:
                options["structured_outputs"] = StructuredOutputsParams(regex=form.regex)
                widest = max(len(spelling) for spelling in (*tokens.first, *tokens.later))
                max_tokens = max(max_tokens, (ANSWER_TOKENS + widest) * (form.count + 1))
        elif isinstance(form, JsonReply) and self._structured:
            options["structured_outputs"] = StructuredOutputsParams(json=form.schema)
        return SamplingParams(
            temperature=request.temperature,
            seed=request.seed if request.temperature > 0 else None,
            max_tokens=max_tokens,
            stop=stop or None,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **options,
        )

    def _suffix_parameters(self, suffix: SuffixTokens, prompt_tokens: int, cached: bool) -> dict[str, Any]:
        """What asks for the log-probabilities of a suffix's tokens and of the options at its places.

        The engine's newer runner scores just these tokens, from the prompt's last token before the suffix on; the older one lists the
        likeliest tokens at every place of the prompt, and computes all of it, cached or not.
        """
        if self._scores_tokens:
            asked = dict(zip(suffix.places, suffix.option_ids, strict=True))
            width = 1 + max((len(ids) for ids in suffix.option_ids), default=0)
            rows = [[token, *asked.get(number, ())] for number, token in enumerate(suffix.ids)]
            return {
                "prompt_logprob_token_ids": [[*row, *[-1] * (width - len(row))] for row in rows],
                "prompt_logprob_start": prompt_tokens - len(suffix.ids) - 1,
                "skip_reading_prefix_cache": not cached,
            }
        return {"prompt_logprobs": min(MOST_LISTED, self._llm.llm_engine.model_config.max_logprobs) if suffix.places else 0}

    def _follow_up_parameters(self, follow_up: _FollowUp) -> Any:
        """One greedy token, and the log-probabilities asked about in its place."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=0,
            max_tokens=1,
            detokenize=False,
            logprob_token_ids=sorted(set(follow_up.token_ids)),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _unread_forks(self, open_: _Open) -> list[_FollowUp]:
        """What to ask to know the way at every fork of a list of choices that the reply itself did not pass."""
        reply = list(open_.output.outputs[0].token_ids)
        return [
            _FollowUp((number, path), (*open_.prompt, *reply[:place], *path), tokens)
            for number, (place, _, ways) in enumerate(self._answers(open_) or [])
            for path, tokens in ways.items()
            if tuple(reply[place : place + len(path)]) != path
        ]

    def _unread_places(self, open_: _Open) -> list[_FollowUp]:
        """What to ask to know the options at the places of a suffix where the engine did not list all of them."""
        if self._scores_tokens:
            return []
        before = open_.prompt[: len(open_.prompt) - len(open_.suffix.ids)]
        return [
            _FollowUp(place, (*before, *open_.suffix.ids[:place]), ids)
            for place, ids in zip(open_.suffix.places, open_.suffix.option_ids, strict=True)
            if not set(ids) <= open_.output.prompt_logprobs[len(before) + place].keys()
        ]

    def _answers(self, open_: _Open) -> list[tuple[int, tuple[Spelling, ...], dict[Spelling, tuple[int, ...]]]] | None:
        """Of each answer: where in the reply it begins, the options' spellings there, and the tokens that may follow at each fork.

        None where the reply has no such list, or spells an option in a way of its own.
        """
        form, completion = open_.request.reply_format, open_.output.outputs[0]
        if not isinstance(form, ChoiceList) or not completion.logprobs:
            return None
        ids = tuple(completion.token_ids)
        places = answer_places([self._tokenizer.decode([token]) for token in ids], form)
        if places is None:
            return None
        tokens, answers = self._spelled(form), []
        for number, (place, _, _) in enumerate(places):
            known = (tokens.later, tokens.first) if number else (tokens.first, tokens.later)
            spellings = next((k for k in known if any(ids[place : place + len(s)] == s for s in k)), None)
            if spellings is None:
                return None
            end = tokens.end(number + 1 == form.count)
            ways = {path: tuple(end if t == END else t for t in followers) for path, followers in forks(spellings).items()}
            answers.append((place, spellings, ways))
        return answers

    def _answer_probabilities(self, open_: _Open) -> tuple[tuple[float, ...], ...] | None:
        """P(option) for each answer, from the reply's own log-probabilities and its follow-ups'."""
        answers = self._answers(open_)
        if answers is None:
            return None
        listed, probabilities = open_.output.outputs[0].logprobs, []
        for number, (place, spellings, ways) in enumerate(answers):
            here: dict[Spelling, dict[int, float]] = {}
            for path, followers in forks(spellings).items():
                found = open_.found.get((number, path)) or _logprobs(listed[place + len(path)])
                here[path] = {follower: found[token] for follower, token in zip(followers, ways[path], strict=True)}
            probabilities.append(tuple(math.exp(value) for value in option_logprobs(spellings, here)))
        return tuple(probabilities)

    def _read_suffix(self, open_: _Open) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
        """Log-probabilities of the suffix's tokens, and the options' probabilities at its places."""
        suffix = open_.suffix
        if self._scores_tokens:
            scores = open_.output.prompt_token_id_logprobs.tolist()
            at = [scores[place][1 : 1 + len(ids)] for place, ids in zip(suffix.places, suffix.option_ids, strict=True)]
            return tuple(row[0] for row in scores), tuple(map(_renormalised, at))
        listed = open_.output.prompt_logprobs[len(open_.prompt) - len(suffix.ids) :]
        chosen = tuple(float(place[token].logprob) for token, place in zip(suffix.ids, listed, strict=True))
        found = [open_.found.get(place) or _logprobs(listed[place]) for place in suffix.places]
        return chosen, tuple(_renormalised([one[i] for i in ids]) for one, ids in zip(found, suffix.option_ids, strict=True))

    def _reply(self, open_: _Open) -> Reply:
        """The reply to a request whose output and follow-ups have come; what the follow-ups cost is part of its counts."""
        request, completion = open_.request, open_.output.outputs[0]
        logprobs, choices = self._read_suffix(open_) if request.suffix else (None, None)
        return Reply(
            text=request.line_prefix + completion.text if request.max_reply_tokens else "",
            finish_reason="length" if completion.finish_reason == "length" and request.max_reply_tokens else "stop",
            prompt_tokens=open_.prompt_tokens,
            cached_tokens=open_.cached_tokens,
            completion_tokens=open_.completion_tokens,
            seconds=open_.seconds,
            answer_probabilities=self._answer_probabilities(open_),
            suffix_logprobs=logprobs,
            suffix_choices=choices if request.suffix_choices else None,
        )


def _logprobs(place: Mapping[int, Any]) -> dict[int, float]:
    """Natural-log probabilities by token id, of one place of the engine's output."""
    return {token: float(one.logprob) for token, one in place.items()}


def _renormalised(logprobs: Sequence[float]) -> tuple[float, ...]:
    """Probabilities that sum to 1."""
    weights = [math.exp(value - max(logprobs)) for value in logprobs]
    return tuple(weight / sum(weights) for weight in weights)


def _too_long(prompt_tokens: int, reply_tokens: int, longest: int) -> Reply:
    problem = f"the prompt's {prompt_tokens} tokens and a reply of up to {reply_tokens} exceed the model's {longest}; show fewer examples"
    return Reply("", "error", 0, 0, 0, 0.0, error=problem)
