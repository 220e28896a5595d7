"""The `vllm` back end: a vLLM engine in this process, one flat batch for all requests of a run. For GPUs; a CPU engine exists.

    scorer: {backend: vllm, model: owner/model, options: {dtype: bfloat16, tensor_parallel_size: 2, gpu_memory_utilization: 0.85}}

Prefix caching is on, and `ask_all` puts requests with the same leading messages side by side. The cache serves questions about a given
text too: the engine lists log-probabilities at the places that it computes, and the text stands behind the prefix. A list of choices is
decoded under a regular expression, and the engine returns the log-probabilities of exactly the options, so that the answers' probabilities
are exact. Where that leaves something open (options that begin alike but fork off the reply's way; an option unlisted at a place of a
suffix; the beginning of a suffix that came out of the cache), one more token is asked for after the prompt, the reply up to there and the
tokens of that way: a follow-up. The prefix cache makes it cheap.
"""

# pyright: reportAttributeAccessIssue=false
# Where the package `vllm` is not installed, pyright takes this folder's vllm.py for it.
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from resources.language_models.interface import (
    Capability,
    ChoiceList,
    JsonReply,
    ModelIdentity,
    Reply,
    Request,
    UnsupportedRequest,
    refuse_unsupported,
    too_long,
)
from resources.language_models.tokens.choice_tokens import ChoiceTokens, choice_tokens
from resources.language_models.tokens.prompt_tokens import begun_thought, opens_thought, prompt_token_ids, refused_by_template, takes_chats
from resources.language_models.tokens.suffix_tokens import SuffixTokens, suffix_tokens
from resources.language_models.vllm_engine.follow_ups import (
    EngineRequest,
    FollowUp,
    ListAnswer,
    answers_of,
    list_probabilities,
    place_logprobs,
    suffix_probabilities,
    unread_beginning,
    unread_forks,
    unread_places,
)
from resources.subject.chat_texts import ChatTemplateError

MAX_WAITING = 2_048  # requests in the engine at once: enough to keep it full, few enough to begin without delay
ANSWER_TOKENS = 3  # of a list's reply, beside the option itself, for each answer
MOST_LISTED = 20  # alternatives listed at a place of a prompt by an engine without a limit; others list as many as they may, 20 by default
MOST_UNREAD = 4  # of a suffix's tokens are asked about one by one; where more came out of the cache, the whole prompt is computed
MOST_ASKED_ABOUT = 128  # tokens whose log-probabilities the engine gives at each place of a reply


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
        thinking_tokens: int = 0,
        engine_options: dict[str, Any] | None = None,
    ) -> None:
        """Load `model` (see `resources.weights.resolve_model_folder`). Arguments are vLLM's; `engine_options` are further arguments of its
        engine.

        `structured` False leaves lists of choices to the prompt alone: for measuring the value of the constraint. `thinking_tokens` are
        tokens of a free text beyond its own bound, for models that write thought before it; a reply under a constraint has no thought.
        """
        from vllm import LLM

        from resources.engine_checkpoint import refuse_for_engine
        from resources.weights import resolve_model_folder

        folder = resolve_model_folder(model, revision)
        refuse_for_engine(folder, quantization, (engine_options or {}).get("load_format"))
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
        self._structured, self._thinking_tokens = structured, thinking_tokens
        self._spellings: dict[ChoiceList, ChoiceTokens] = {}
        held = str(self._llm.llm_engine.model_config.dtype).removeprefix("torch.")
        how = [folder.revision, held, *([quantization] if quantization else []), *([] if structured else ["unstructured"])]
        how += [f"thinking{thinking_tokens}"] if thinking_tokens else []
        how += ["closed-thought"] if opens_thought(self._tokenizer) else []
        self._identity = ModelIdentity("vllm", model, "-".join(how))
        self._batches = 0

    @property
    def identity(self) -> ModelIdentity:
        """The model; its numeric type and quantisation are part of the revision, since they can change a reply."""
        return self._identity

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Probabilities of answers, constrained replies (unless turned off) and log-probabilities of the prompt."""
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

        A prompt that is too long for the model, or that its chat template refuses, is an error reply. Closing the iterator withdraws the
        requests under way. Raises `UnsupportedRequest` before anything is asked, and `ChatTemplateError` for a template that takes no chat.
        """
        refuse_unsupported(self, requests)
        suffixes = [self._refuse_undecidable(request) for request in requests]
        engine = self._llm.llm_engine
        longest = engine.model_config.max_model_len
        self._batches += 1
        waiting: dict[str, tuple[int, FollowUp | None]] = {}
        engine_ids: dict[str, str] = {}
        under_way: dict[int, EngineRequest] = {}
        follow_ups: deque[tuple[int, FollowUp]] = deque()
        todo = iter(enumerate(requests))
        last = time.perf_counter()

        def hand_in(index: int, follow_up: FollowUp | None, prompt: Sequence[int], parameters: Any) -> None:
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
                    try:
                        prompt = [*prompt_token_ids(self._tokenizer, request, self._room(request)), *suffixes[index].ids]
                    except ChatTemplateError as error:
                        if not takes_chats(self._tokenizer):
                            raise
                        yield index, refused_by_template(error)
                        continue
                    parameters = self._parameters(request)
                    if len(prompt) + parameters.max_tokens > longest:
                        yield index, too_long(len(prompt), parameters.max_tokens, longest)
                        continue
                    under_way[index] = EngineRequest(request, prompt, suffixes[index])
                    hand_in(index, None, prompt, parameters)
                if not waiting:
                    return
                finished = [output for output in engine.step() if output.finished]
                now = time.perf_counter()
                share, last = ((now - last) / len(finished), now) if finished else (0.0, last)
                for output in finished:
                    index, follow_up = waiting.pop(output.request_id)
                    engine_request = under_way[index]
                    engine_request.count(output, share)
                    if follow_up is not None:
                        engine_request.found[follow_up.key] = place_logprobs(output.outputs[0].logprobs[0])
                    else:
                        engine_request.output = output
                        if unread_beginning(engine_request) > MOST_UNREAD and not engine_request.whole:
                            engine_request.whole, engine_request.missing = True, 1
                            hand_in(index, None, engine_request.prompt, self._parameters(engine_request.request, whole=True))
                            continue
                        engine_request.answers = self._answers(engine_request)
                        more = [*unread_forks(engine_request), *unread_places(engine_request)]
                        engine_request.missing += len(more)
                        follow_ups.extend((index, one) for one in more)
                    if not engine_request.missing:
                        yield index, self._reply(under_way.pop(index))
        finally:
            if waiting and self._llm is not None:
                engine.abort_request([engine_ids[name] for name in waiting], internal=True)

    def _refuse_undecidable(self, request: Request) -> SuffixTokens:
        """The suffix's tokens. Raises `UnsupportedRequest` for options that the tokenizer or the engine cannot tell apart."""
        form, choices = request.reply_format, request.suffix_choices
        compared = max(len(self._spelled(form).ids) if isinstance(form, ChoiceList) else 0, 1 + len(choices.options) if choices else 0)
        if compared > MOST_ASKED_ABOUT:
            raise UnsupportedRequest(
                f"{compared} tokens to choose from; the engine compares {MOST_ASKED_ABOUT} at most at one place: use fewer options"
            )
        return suffix_tokens(self._tokenizer, request)

    def _spelled(self, choices: ChoiceList) -> ChoiceTokens:
        """The tokens of a list of choices; each list is worked out once."""
        if choices not in self._spellings:
            self._spellings[choices] = choice_tokens(self._tokenizer, choices)
        return self._spellings[choices]

    def _parameters(self, request: Request, whole: bool = False) -> Any:
        """vLLM's sampling parameters for one request.

        A suffix makes the engine list its likeliest tokens at every place of the prompt that it computes. It computes the whole prompt,
        cached or not, if `whole` or if a reply follows the suffix.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        form = request.reply_format
        stop = [*request.stop, "\n"] if request.line_prefix else list(request.stop)
        options: dict[str, Any] = {}
        if request.suffix:
            limit = self._llm.llm_engine.model_config.max_logprobs  # -1 for none
            most = limit if limit >= 0 else MOST_LISTED
            options["prompt_logprobs"] = most if request.suffix_choices else 0
            options["skip_reading_prefix_cache"] = whole or request.max_reply_tokens > 0
        max_tokens = request.max_reply_tokens
        if max_tokens == 0:
            return SamplingParams(temperature=0, max_tokens=1, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY, **options)
        if isinstance(form, ChoiceList):
            # vLLM returns the chosen token beside these tokens, and alternatives are needed only where an option is chosen.
            tokens = self._spelled(form)
            options["logprob_token_ids"] = tokens.ids
            if self._structured:
                options["structured_outputs"] = StructuredOutputsParams(regex=form.regex)
                widest = max(len(spelling) for spelling in (*tokens.first, *tokens.later))
                max_tokens = max(max_tokens, (ANSWER_TOKENS + widest) * (form.count + 1))
        elif isinstance(form, JsonReply) and self._structured:
            options["structured_outputs"] = StructuredOutputsParams(json=form.schema)
        if "structured_outputs" not in options:
            max_tokens += self._thinking_tokens
        return SamplingParams(
            temperature=request.temperature,
            seed=request.seed if request.temperature > 0 else None,
            max_tokens=max_tokens,
            stop=stop or None,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **options,
        )

    def _follow_up_parameters(self, follow_up: FollowUp) -> Any:
        """One greedy token, and the log-probabilities of the tokens asked for in its place."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=0,
            max_tokens=1,
            detokenize=False,
            logprob_token_ids=sorted(set(follow_up.token_ids)),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _room(self, request: Request) -> int:
        """Most tokens of thought before a reply; none before a JSON value that the engine constrains."""
        return 0 if isinstance(request.reply_format, JsonReply) and self._structured else self._thinking_tokens

    def _begun(self, request: Request) -> str:
        return begun_thought(self._tokenizer, request, self._room(request))

    def _answers(self, engine_request: EngineRequest) -> list[ListAnswer] | None:
        """The answers of the reply; None where the reply is no list of choices, or spells an option in another way."""
        form, completion = engine_request.request.reply_format, engine_request.output.outputs[0]
        if not isinstance(form, ChoiceList) or not completion.logprobs:
            return None
        texts = [self._tokenizer.decode([token]) for token in completion.token_ids]
        return answers_of(tuple(completion.token_ids), texts, form, self._spelled(form))

    def _reply(self, engine_request: EngineRequest) -> Reply:
        """The reply to a request whose output and follow-ups have come; the cost of the follow-ups is part of its counts."""
        request, completion = engine_request.request, engine_request.output.outputs[0]
        logprobs, choices = suffix_probabilities(engine_request) if request.suffix else (None, None)
        return Reply(
            text=self._begun(request) + request.line_prefix + completion.text if request.max_reply_tokens else "",
            finish_reason="length" if completion.finish_reason == "length" and request.max_reply_tokens else "stop",
            prompt_tokens=engine_request.prompt_tokens,
            cached_tokens=engine_request.cached_tokens,
            completion_tokens=engine_request.completion_tokens,
            seconds=engine_request.seconds,
            answer_probabilities=list_probabilities(engine_request),
            suffix_logprobs=logprobs,
            suffix_choices=choices if request.suffix_choices else None,
        )
