"""The `transformers` back end: any Hugging Face causal model in process, on the CPU or a GPU. The default.

Requests that share their leading messages share the key-values of that prefix, computed once. A `ChoiceList` is decoded under constraint:
brackets and commas are forced, so that each answer costs one step (options that begin alike cost one more step for each fork), and
the options' probabilities are read where an option is chosen. Suffixes are read in one pass, batched like all other prompts.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resources.language_models.interface import Capability, ChoiceList, ModelIdentity, Reply, Request, refuse_unsupported, too_long
from resources.language_models.tokens.choice_tokens import END, ChoiceTokens, Spelling, choice_tokens, forks, option_logprobs
from resources.language_models.tokens.prefix_batches import PrefixBatch, prefix_batches
from resources.language_models.tokens.prompt_tokens import begun_thought, opens_thought, prompt_token_ids, refused_by_template, takes_chats
from resources.language_models.tokens.suffix_tokens import SuffixTokens, suffix_tokens
from resources.language_models.transformers_local.decoder import Decoder, prefilled, read_suffixes
from resources.language_models.transformers_local.trying import fastest_right_way
from resources.language_models.transformers_local.ways import ALONE, UNCACHED, Way, length_with_other_positions, longest_in_batches
from resources.model_loading import context_limit
from resources.subject.chat_texts import ChatTemplateError


class TransformersModel:
    """A causal language model with its tokenizer. Weights load on construction and are freed by `close`."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int | None = None,
        thinking_tokens: int = 0,
    ) -> None:
        """Load `model` (see `resources.weights.resolve_model_folder`).

        `device` is CUDA by default where there is a GPU; `dtype` is float32 on a CPU and bfloat16 on CUDA. `batch_tokens` bounds the padded
        tokens of a batch beyond the shared prefix (4,096 on a CPU, 65,536 on CUDA). `thinking_tokens` are added to the bound of a free
        text, for models that write their thought first.
        """
        from resources.model_loading import load_text_model
        from resources.weights import load_hf_tokenizer, resolve_model_folder

        folder = resolve_model_folder(model, revision)
        self._model: Any = load_text_model(folder, device, dtype)
        self._tokenizer: Any = load_hf_tokenizer(folder)
        self._batch_tokens = batch_tokens or (65_536 if self._model.device.type == "cuda" else 4_096)
        self._pass_tokens = 1_024 if self._model.device.type == "cuda" else 64
        self._spellings: dict[ChoiceList, ChoiceTokens] = {}
        self._way: Way | None = None
        self._longest_cached = length_with_other_positions(self._model.config)
        self._longest_in_batches = longest_in_batches(self._model.config)
        self._thinking_tokens = thinking_tokens
        how = str(self._model.dtype).removeprefix("torch.") + (f"-thinking{thinking_tokens}" if thinking_tokens else "")
        how += "-closed-thought" if opens_thought(self._tokenizer) else ""
        self._identity = ModelIdentity("transformers", model, f"{folder.revision}-{how}")

    @property
    def identity(self) -> ModelIdentity:
        """The model; its numeric type is part of the revision, since it can change a reply."""
        return self._identity

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Probabilities of answers, constrained lists of choices, and log-probabilities of the prompt."""
        return frozenset({"answer_probabilities", "structured_reply", "prompt_logprobs"})

    def close(self) -> None:
        """Free the weights; the model cannot be used afterwards."""
        import gc

        import torch

        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def try_ways(self) -> None:
        """Find the way in which the model runs, which the first question would wait for otherwise."""
        if self._way is None:
            self._way = fastest_right_way(self._model, self._pad_id)

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Replies batch by batch; a prompt that is too long for the model, or that its chat template refuses, is an error reply.

        Raises `UnsupportedRequest` before anything runs, and `ChatTemplateError` for a template that takes no chat.
        """
        refuse_unsupported(self, requests)
        taken: dict[int, _Plan] = {}
        for index, request in enumerate(requests):
            try:
                taken[index] = self._plan(request)
            except ChatTemplateError as error:
                if not takes_chats(self._tokenizer):
                    raise
                yield index, refused_by_template(error)
        for place, reply in self._fitting([requests[index] for index in taken], list(taken.values())):
            yield list(taken)[place], reply

    def _fitting(self, requests: Sequence[Request], plans: Sequence["_Plan"]) -> Iterator[tuple[int, Reply]]:
        """The replies to requests with their plans, with their indices; of requests that are too long for the model's context too."""
        lengths = [len(plan.prompt) + self._reply_tokens(request) for plan, request in zip(plans, requests, strict=True)]
        longest = context_limit(self._model.config) or max(lengths, default=0)
        for index, length in enumerate(lengths):
            if length > longest:
                yield index, too_long(len(plans[index].prompt), self._reply_tokens(requests[index]), longest)
        fitting = [index for index, length in enumerate(lengths) if length <= longest]
        for place, reply in self._replies([requests[i] for i in fitting], [plans[i] for i in fitting]):
            yield fitting[place], reply

    def _replies(self, requests: Sequence[Request], plans: Sequence["_Plan"]) -> Iterator[tuple[int, Reply]]:
        """The replies to requests that fit into the model's context, with their indices."""
        ways = [self._way_of(len(plan.prompt) + self._reply_tokens(request)) for request, plan in zip(requests, plans, strict=True)]
        for way in dict.fromkeys(ways):
            indices = [index for index, one in enumerate(ways) if one == way]
            for place, reply in self._answered_so(way, [requests[i] for i in indices], [plans[i] for i in indices]):
                yield indices[place], reply

    def _reply_tokens(self, request: Request) -> int:
        """The most tokens of a reply with its thought; a constrained list has no thought."""
        thinks = request.max_reply_tokens and not isinstance(request.reply_format, ChoiceList)
        return request.max_reply_tokens + (self._thinking_tokens if thinks else 0)

    def _way_of(self, tokens: int) -> Way:
        """How a request with so many tokens of prompt and reply runs."""
        if self._longest_cached is not None and tokens > self._longest_cached:
            return UNCACHED
        self.try_ways()
        assert self._way is not None
        if self._longest_in_batches is not None and tokens >= self._longest_in_batches:
            return replace(self._way, name=ALONE.name, batched=False)
        return self._way

    def _answered_so(self, way: Way, requests: Sequence[Request], plans: Sequence["_Plan"]) -> Iterator[tuple[int, Reply]]:
        """The replies to requests that all run one way, with their indices."""
        groups = [
            (request.messages[: request.shared_messages], _decoding(request)) if way.shares_prefix else index
            for index, request in enumerate(requests)
        ]
        own_tokens = [1 + len(plan.suffix.ids) for plan in plans]
        batch_tokens = self._batch_tokens if way.batched else 1
        pass_tokens = self._pass_tokens if way.batched else None
        prompts = [plan.prompt for plan in plans]
        root_cache = prefix_cache = None
        for number, batch in enumerate(prefix_batches(prompts, groups, batch_tokens, own_tokens, pass_tokens, way.shares_prefix)):
            started = time.perf_counter()
            if number == 0:
                root_cache = prefilled(self._model, batch.prefix[: batch.root], way)
            if batch.first_of_prefix:
                prefix_cache = prefilled(self._model, batch.prefix, way, self._pad_id, batch.prefix[: batch.root], root_cache)
            replies = self._sound(batch, way, [requests[i] for i in batch.indices], [plans[i] for i in batch.indices], prefix_cache)
            seconds = (time.perf_counter() - started) / len(replies)
            cached = _tokens_computed_before(batch, [prompts[i] for i in batch.indices], batch.root if number else 0)
            for index, fields, tokens in zip(batch.indices, replies, cached, strict=True):
                yield index, Reply(prompt_tokens=len(plans[index].prompt), cached_tokens=tokens, seconds=seconds, **fields)

    def _plan(self, request: Request) -> "_Plan":
        """The request's tokens. Raises `UnsupportedRequest` for options that its tokenizer cannot tell apart."""
        if isinstance(request.reply_format, ChoiceList):
            self._spelled(request.reply_format)
        suffix = suffix_tokens(self._tokenizer, request)
        return _Plan([*prompt_token_ids(self._tokenizer, request, self._thinking_tokens), *suffix.ids], suffix)

    def _sound(
        self, batch: PrefixBatch, way: Way, requests: list[Request], plans: list["_Plan"], prefix_cache: Any
    ) -> list[dict[str, Any]]:
        """Fields of the replies of one batch. Where the model's logits are NaN, each request runs alone, and requests that fail are
        errors."""
        try:
            return self._run(batch, way, requests, plans, prefix_cache)
        except NotFinite as error:
            if len(requests) == 1:
                return [{"text": "", "finish_reason": "error", "completion_tokens": 0, "error": str(error)}]
        singles = [replace(batch, indices=(index,), forks=()) for index in batch.indices]
        trios = zip(singles, requests, plans, strict=True)
        return [self._sound(one, way, [request], [plan], prefix_cache)[0] for one, request, plan in trios]

    def _run(self, batch: PrefixBatch, way: Way, requests: list[Request], plans: list["_Plan"], prefix_cache: Any) -> list[dict[str, Any]]:
        """Fields of the replies of one batch. All its requests are decoded in the same way."""
        import torch

        with torch.inference_mode():
            reply_format, given = requests[0].reply_format, bool(requests[0].suffix)
            opening = self._spelled(reply_format).opening if isinstance(reply_format, ChoiceList) and requests[0].max_reply_tokens else ()
            rests = [[*plan.prompt[len(batch.prefix) :], *opening] for plan in plans]
            decoder = self._read(batch, way, rests, prefix_cache, keep_hidden=given)
            self._finite(decoder.logits)
            read = read_suffixes(self._model, decoder, [plan.suffix for plan in plans], len(opening)) if given else None
            if requests[0].max_reply_tokens == 0:
                replies = [{"text": "", "finish_reason": "stop", "completion_tokens": 0} for _ in requests]
            elif isinstance(reply_format, ChoiceList):
                replies = self._choose(decoder, reply_format, requests)
            else:
                replies = self._write(decoder, requests)
        if read is None:
            return replies
        self._finite(torch.tensor([value for logprobs, _ in read for value in logprobs]))
        return [
            {**reply, "suffix_logprobs": logprobs, "suffix_choices": shares if request.suffix_choices else None}
            for reply, (logprobs, shares), request in zip(replies, read, requests, strict=True)
        ]

    def _read(self, batch: PrefixBatch, way: Way, rests: list[list[int]], prefix_cache: Any, keep_hidden: bool) -> Decoder:
        """The batch after its rests; beginnings that rows share are read once."""
        if not batch.forks:
            return Decoder(self._model, rests, batch.prefix, prefix_cache, self._pad_id, way, keep_hidden)
        beginnings = [tuple(rest[:fork]) for rest, fork in zip(rests, batch.forks, strict=True)]
        distinct = {beginning: number for number, beginning in enumerate(dict.fromkeys(beginnings))}
        decoder = Decoder(self._model, list(distinct), batch.prefix, prefix_cache, self._pad_id, way)
        decoder.keep([distinct[beginning] for beginning in beginnings])
        decoder.append([rest[fork:] for rest, fork in zip(rests, batch.forks, strict=True)], keep_hidden)
        return decoder

    def _finite(self, values: Any) -> Any:
        """The values. Raises `NotFinite` where a value is NaN."""
        if bool(values.isnan().any()):
            dtype = str(self._model.dtype).removeprefix("torch.")
            raise NotFinite(
                f"the model's logits on this prompt are NaN in {dtype}: load it in another dtype (option `dtype`, float32 or bfloat16), or "
                "check its weights"
            )
        return values

    @property
    def _pad_id(self) -> int:
        return self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self._tokenizer.eos_token_id

    def _spelled(self, choices: ChoiceList) -> ChoiceTokens:
        """The tokens of a list of choices; each list is worked out once."""
        if choices not in self._spellings:
            self._spellings[choices] = choice_tokens(self._tokenizer, choices)
        return self._spellings[choices]

    def _choose(self, decoder: Decoder, choices: ChoiceList, requests: list[Request]) -> list[dict[str, Any]]:
        """Constrained lists: at each answer the options' probabilities; the likeliest option is taken (or an option is drawn, above
        temperature 0).

        Options of one token each, or that fork at their first token, take one step an answer; every further fork takes one more step.
        """
        import torch

        tokens = self._spelled(choices)
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        probabilities: list[list[tuple[float, ...]]] = [[] for _ in requests]
        answers: list[list[int]] = [[] for _ in requests]
        counts = [len(tokens.opening) + (choices.count - 1) * len(tokens.separator) + len(tokens.closing)] * len(requests)
        for number in range(choices.count):
            last = number + 1 == choices.count
            spellings = tokens.later if number else tokens.first
            ways = {
                path: (followers, self._at_fork(decoder, path, [tokens.end(last) if token == END else token for token in followers]))
                for path, followers in forks(spellings).items()
            }
            for row, request in enumerate(requests):
                here = {path: dict(zip(followers, values[row], strict=True)) for path, (followers, values) in ways.items()}
                logprobs = self._finite(torch.tensor(option_logprobs(spellings, here), dtype=torch.float64))
                probabilities[row].append(tuple(logprobs.exp().tolist()))
                answers[row].append(_pick(logprobs, request.temperature, generators[row]))
                counts[row] += len(spellings[answers[row][-1]])
            if not last:
                decoder.append([[*spellings[row[-1]], *tokens.separator] for row in answers])
        texts = ["[" + ", ".join(choices.options[i] for i in row) + "]" for row in answers]
        return [
            {"text": text, "finish_reason": "stop", "completion_tokens": n, "answer_probabilities": tuple(row)}
            for text, n, row in zip(texts, counts, probabilities, strict=True)
        ]

    def _at_fork(self, decoder: Decoder, path: Spelling, tokens: list[int]) -> list[list[float]]:
        """[rows][tokens] log-probabilities, up to a constant a row, after the tokens that lead to a fork."""
        logits = decoder.logits_after(path) if path else decoder.logits
        return logits[:, tokens].double().tolist()

    def _write(self, decoder: Decoder, requests: list[Request]) -> list[dict[str, Any]]:
        """Free text: token by token until the end of turn, a stop string or `max_reply_tokens`.

        Finished rows leave the batch as soon as they are half of it, so that one long reply costs little more than the reply alone.
        """
        import torch

        ends = {self._tokenizer.eos_token_id, *_as_list(self._model.generation_config.eos_token_id)}
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        written: list[list[int]] = [[] for _ in requests]
        finish: list[str | None] = [None] * len(requests)
        texts = [""] * len(requests)
        rows = list(range(len(requests)))  # rows still in the batch
        while True:
            logits = self._finite(decoder.logits.float().cpu())
            for place, row in enumerate(rows):
                if finish[row] is None:
                    request = requests[row]
                    token = _pick(logits[place], request.temperature, generators[row])
                    if token in ends:
                        finish[row] = "stop"
                        continue
                    written[row].append(token)
                    texts[row], stopped = _cut(self._tokenizer.decode(written[row], skip_special_tokens=True), _stops(request))
                    if stopped:
                        finish[row] = "stop"
                    elif len(written[row]) >= self._reply_tokens(request):
                        finish[row] = "length"
            unfinished = [place for place, row in enumerate(rows) if finish[row] is None]
            if not unfinished:
                break
            if 2 * len(unfinished) <= len(rows):
                decoder.keep(unfinished)
                rows = [rows[place] for place in unfinished]
            decoder.append([[written[row][-1] if written[row] else self._pad_id] for row in rows])
        return [
            {
                "text": begun_thought(self._tokenizer, request, self._thinking_tokens) + request.line_prefix + text,
                "finish_reason": reason,
                "completion_tokens": len(tokens),
            }
            for request, text, reason, tokens in zip(requests, texts, finish, written, strict=True)
        ]


class NotFinite(ArithmeticError):
    """Logits that are NaN: no answer can be made of them."""


@dataclass(frozen=True)
class _Plan:
    """The tokens of one request: the whole `prompt`, and the `suffix` at its end (empty without a suffix)."""

    prompt: list[int]
    suffix: SuffixTokens


def _tokens_computed_before(batch: PrefixBatch, prompts: list[list[int]], of_first: int) -> list[int]:
    """For each prompt of a batch the tokens that were computed for an earlier prompt; `of_first` for the first prompt of a prefix."""
    shared = len(batch.prefix)
    counts = [shared] * len(prompts)
    met: set[tuple[int, ...]] = set()
    for row, fork in enumerate(batch.forks):
        beginning = tuple(prompts[row][shared : shared + fork])
        counts[row] += fork if beginning in met else 0
        met.add(beginning)
    if batch.first_of_prefix:
        counts[0] = of_first
    return counts


def _decoding(request: Request) -> object:
    """The key that all requests of one batch have in common: lists of the same choices, or any text; a suffix to read; nothing to write."""
    form = request.reply_format if isinstance(request.reply_format, ChoiceList) else "free_text"
    return (form, bool(request.suffix), request.max_reply_tokens == 0)


def _pick(logits: Any, temperature: float, generator: Any) -> int:
    """Index of the likeliest entry at temperature 0, else an index drawn from softmax(logits / temperature)."""
    import torch

    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=generator))


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _stops(request: Request) -> tuple[str, ...]:
    """Stop strings of a request. A reply of one line with a given beginning also stops at the end of the line."""
    return (*request.stop, "\n") if request.line_prefix else request.stop


def _as_list(value: int | list[int] | None) -> list[int]:
    return [] if value is None else value if isinstance(value, list) else [value]
