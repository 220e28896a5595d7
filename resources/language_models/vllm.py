"""The `vllm` back end: a vLLM engine in this process, one flat batch for all requests of a run. For GPUs; a CPU engine exists.

    scorer: {backend: vllm, model: owner/model, options: {dtype: bfloat16, tensor_parallel_size: 2, gpu_memory_utilization: 0.85}}

Prefix caching is on, and `ask_all` puts requests with the same leading messages side by side. A list of choices is decoded under a regular
expression, and the engine returns the log-probabilities of just the options, so that the answers' probabilities are exact.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from resources.language_models.answer_places import answer_probabilities
from resources.language_models.interface import Capability, ChoiceList, JsonReply, ModelIdentity, Reply, Request, refuse_unsupported
from resources.language_models.prompt_tokens import prompt_token_ids

MAX_WAITING = 2_048  # requests handed to the engine at once: enough to keep it full, few enough to begin at once
ANSWER_TOKENS = 4


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
        """Replies as the engine finishes them. `seconds` of a reply is its share of the engine's step in which it ended.

        A prompt that is too long for the model is an error reply. Closing the iterator takes back what is under way.
        """
        refuse_unsupported(self, requests)
        engine = self._llm.llm_engine
        longest = engine.model_config.max_model_len
        self._batches += 1
        waiting: dict[str, int] = {}
        engine_ids: dict[str, str] = {}
        todo = iter(enumerate(requests))
        last = time.perf_counter()
        try:
            while True:
                while len(waiting) < MAX_WAITING and (item := next(todo, None)) is not None:
                    index, request = item
                    prompt = prompt_token_ids(self._tokenizer, request)
                    parameters = self._parameters(request)
                    if len(prompt) + parameters.max_tokens > longest:
                        yield index, _too_long(len(prompt), parameters.max_tokens, longest)
                        continue
                    name = f"{self._batches}-{index}"
                    waiting[name] = index
                    engine_ids[name] = engine.add_request(name, {"prompt_token_ids": prompt}, parameters) or name
                if not waiting:
                    return
                finished = [output for output in engine.step() if output.finished]
                now = time.perf_counter()
                share, last = ((now - last) / len(finished), now) if finished else (0.0, last)
                for output in finished:
                    index = waiting.pop(output.request_id)
                    yield index, self._reply(requests[index], output, share)
        finally:
            if waiting and self._llm is not None:
                engine.abort_request([engine_ids[name] for name in waiting], internal=True)

    def _parameters(self, request: Request) -> Any:
        """vLLM's sampling parameters for one request."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        form = request.reply_format
        stop = [*request.stop, "\n"] if request.line_prefix else list(request.stop)
        options: dict[str, Any] = {}
        max_tokens = request.max_reply_tokens
        if isinstance(form, ChoiceList):
            # vLLM returns the chosen token beside these, and alternatives are needed where an option is chosen only.
            options["logprob_token_ids"] = self._option_ids(form)
            if self._structured:
                options["structured_outputs"] = StructuredOutputsParams(regex=form.regex)
                max_tokens = max(max_tokens, ANSWER_TOKENS * (form.count + 1))
        elif isinstance(form, JsonReply) and self._structured:
            options["structured_outputs"] = StructuredOutputsParams(json=form.schema)
        return SamplingParams(
            temperature=request.temperature,
            seed=request.seed if request.temperature > 0 else None,
            max_tokens=max_tokens,
            stop=stop or None,
            prompt_logprobs=0 if request.prompt_logprobs else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **options,
        )

    def _option_ids(self, choices: ChoiceList) -> list[int]:
        """Ids of the tokens that are an option, alone or after a space."""
        spelled = [f"{space}{option}" for option in choices.options for space in ("", " ")]
        tokenized = [self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in spelled]
        return sorted({ids[0] for ids in tokenized if len(ids) == 1})

    def _reply(self, request: Request, output: Any, seconds: float) -> Reply:
        """The reply in a finished output of the engine."""
        completion = output.outputs[0]
        probabilities = None
        if isinstance(request.reply_format, ChoiceList) and completion.logprobs:
            tokens = [self._tokenizer.decode([token]) for token in completion.token_ids]
            listed = [{self._tokenizer.decode([token]): one.logprob for token, one in place.items()} for place in completion.logprobs]
            probabilities = answer_probabilities(tokens, listed, request.reply_format)
        known = None
        if request.prompt_logprobs:
            pairs = zip(output.prompt_token_ids[1:], output.prompt_logprobs[1:], strict=True)
            known = tuple(float(place[token].logprob) for token, place in pairs)
        return Reply(
            text=request.line_prefix + completion.text,
            finish_reason="length" if completion.finish_reason == "length" else "stop",
            prompt_tokens=len(output.prompt_token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            completion_tokens=len(completion.token_ids),
            seconds=seconds,
            answer_probabilities=probabilities,
            prompt_logprobs=known,
        )


def _too_long(prompt_tokens: int, reply_tokens: int, longest: int) -> Reply:
    problem = f"the prompt's {prompt_tokens} tokens and a reply of up to {reply_tokens} exceed the model's {longest}; show fewer examples"
    return Reply("", "error", 0, 0, 0, 0.0, error=problem)
