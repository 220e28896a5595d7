"""The `transformers` back end: any Hugging Face causal model in process, on the CPU or a GPU. The default.

Requests that share their leading messages share the key-values of that prefix, computed once. A `ChoiceList` is decoded under constraint:
brackets and commas are forced, so that each answer costs one step, and the options' probabilities are read where it is chosen.
"""

import copy
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from resources.language_models.interface import Capability, ChoiceList, JsonReply, ModelIdentity, Reply, Request, refuse_unsupported
from resources.language_models.prefix_batches import PrefixBatch, prefix_batches
from resources.language_models.prompt_tokens import prompt_token_ids


class TransformersModel:
    """A causal language model with its tokenizer. Weights load on construction and are freed by `close`."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        """Load `model` (see `resources.weights.resolve_model_folder`).

        `device` is CUDA where there is one; `dtype` float32 on a CPU and bfloat16 on CUDA; `batch_tokens` bounds the padded tokens
        of a batch beyond the shared prefix (4,096 on a CPU, 65,536 on CUDA).
        """
        from resources.weights import load_causal_model, load_hf_tokenizer, resolve_model_folder

        folder = resolve_model_folder(model, revision)
        self._model: Any = load_causal_model(folder, device, dtype)
        self._tokenizer: Any = load_hf_tokenizer(folder)
        self._batch_tokens = batch_tokens or (65_536 if self._model.device.type == "cuda" else 4_096)
        self._identity = ModelIdentity("transformers", model, f"{folder.revision}-{str(self._model.dtype).removeprefix('torch.')}")

    @property
    def identity(self) -> ModelIdentity:
        """The model; its numeric type is part of the revision, since it can change a reply."""
        return self._identity

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Probabilities and constrained lists of choices, and log-probabilities of the prompt."""
        return frozenset({"answer_probabilities", "structured_reply", "prompt_logprobs"})

    def close(self) -> None:
        """Free the weights; the model cannot be used afterwards."""
        import gc

        import torch

        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Replies batch by batch. Raises `UnsupportedRequest` before anything runs."""
        refuse_unsupported(self, requests)
        prompts = [prompt_token_ids(self._tokenizer, request) for request in requests]
        groups = [(request.messages[: request.shared_messages], _decoding(request)) for request in requests]
        prefix_cache: Any = None
        for batch in prefix_batches(prompts, groups, self._batch_tokens):
            started = time.perf_counter()
            if batch.first_of_prefix:
                prefix_cache = self._prefill(batch.prefix)
            replies = self._run(batch, [requests[i] for i in batch.indices], [prompts[i] for i in batch.indices], prefix_cache)
            seconds = (time.perf_counter() - started) / len(replies)
            for place, (index, fields) in enumerate(zip(batch.indices, replies, strict=True)):
                computed_here = batch.first_of_prefix and place == 0
                cached = 0 if computed_here else len(batch.prefix)
                yield index, Reply(prompt_tokens=len(prompts[index]), cached_tokens=cached, seconds=seconds, **fields)

    def _prefill(self, prefix: tuple[int, ...]) -> Any:
        """Key-value cache of a prefix for one sequence; None for an empty prefix."""
        import torch
        from transformers import DynamicCache

        if not prefix:
            return None
        cache = DynamicCache(config=self._model.config)
        with torch.inference_mode():
            ids = torch.tensor([prefix], device=self._model.device)
            self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def _run(self, batch: PrefixBatch, requests: list[Request], prompts: list[list[int]], prefix_cache: Any) -> list[dict[str, Any]]:
        """Fields of the replies of one batch; all its requests decode alike."""
        import torch

        with torch.inference_mode():
            logprobs = [self._prompt_logprobs(ids) if r.prompt_logprobs else None for r, ids in zip(requests, prompts, strict=True)]
            rest = [ids[len(batch.prefix) :] for ids in prompts]
            reply_format = requests[0].reply_format
            opening = self._choice_tokens.opening if isinstance(reply_format, ChoiceList) else []
            decoder = _Decoder(self._model, [ids + opening for ids in rest], len(batch.prefix), prefix_cache, self._pad_id)
            if isinstance(reply_format, ChoiceList):
                replies = self._choose(decoder, reply_format, requests)
            else:
                replies = self._write(decoder, requests)
        return [{**reply, "prompt_logprobs": known} for reply, known in zip(replies, logprobs, strict=True)]

    @property
    def _pad_id(self) -> int:
        return self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self._tokenizer.eos_token_id

    @cached_property
    def _choice_tokens(self) -> "_ChoiceTokens":
        return _ChoiceTokens(self._tokenizer)

    def _choose(self, decoder: "_Decoder", reply_format: ChoiceList, requests: list[Request]) -> list[dict[str, Any]]:
        """Constrained lists: at each answer the options' probabilities, the likeliest taken (or drawn, above temperature 0)."""
        import torch

        tokens = self._choice_tokens
        option_ids = torch.tensor([tokens.option(option) for option in reply_format.options], device=self._model.device)
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        probabilities: list[list[tuple[float, ...]]] = [[] for _ in requests]
        answers: list[list[int]] = [[] for _ in requests]
        for number in range(reply_format.count):
            logits = decoder.logits[:, option_ids].float()
            shares = torch.softmax(logits, dim=-1).cpu()
            for row, request in enumerate(requests):
                probabilities[row].append(tuple(shares[row].tolist()))
                answers[row].append(_pick(logits[row].cpu(), request.temperature, generators[row]))
            if number + 1 < reply_format.count:
                decoder.append([[int(option_ids[a[-1]]), *tokens.separator] for a in answers])
        texts = ["[" + ", ".join(reply_format.options[i] for i in row) + "]" for row in answers]
        counts = [len(tokens.opening) + reply_format.count * (1 + len(tokens.separator)) for _ in requests]
        return [
            {"text": text, "finish_reason": "stop", "completion_tokens": n, "answer_probabilities": tuple(row)}
            for text, n, row in zip(texts, counts, probabilities, strict=True)
        ]

    def _write(self, decoder: "_Decoder", requests: list[Request]) -> list[dict[str, Any]]:
        """Free text: token by token until the end of turn, a stop string or `max_reply_tokens`; finished rows leave the batch's work."""
        import torch

        ends = {self._tokenizer.eos_token_id, *_as_list(self._model.generation_config.eos_token_id)}
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        written: list[list[int]] = [[] for _ in requests]
        finish: list[str | None] = [None] * len(requests)
        texts = [""] * len(requests)
        while None in finish:
            logits = decoder.logits.float().cpu()
            for row, request in enumerate(requests):
                if finish[row] is None:
                    token = _pick(logits[row], request.temperature, generators[row])
                    if token in ends:
                        finish[row] = "stop"
                        continue
                    written[row].append(token)
                    texts[row], stopped = _cut(self._tokenizer.decode(written[row], skip_special_tokens=True), _stops(request))
                    if stopped:
                        finish[row] = "stop"
                    elif len(written[row]) >= request.max_reply_tokens:
                        finish[row] = "length"
            if None in finish:
                decoder.append([[tokens[-1] if tokens else self._pad_id] for tokens in written])
        return [
            {"text": request.line_prefix + text, "finish_reason": reason, "completion_tokens": len(tokens)}
            for request, text, reason, tokens in zip(requests, texts, finish, written, strict=True)
        ]

    def _prompt_logprobs(self, ids: list[int], chunk: int = 512) -> tuple[float, ...]:
        """Natural-log probability of each prompt token after the first."""
        import torch

        tokens = torch.tensor([ids], device=self._model.device)
        hidden = self._model.model(input_ids=tokens, use_cache=False).last_hidden_state[0, :-1]
        values: list[float] = []
        for start in range(0, len(hidden), chunk):
            logits = self._model.lm_head(hidden[start : start + chunk]).float()
            targets = tokens[0, start + 1 : start + 1 + len(logits)]
            values += torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0].tolist()
        return tuple(values)


class _Decoder:
    """A batch being decoded: the shared prefix, left padding, the rests of the prompts, then whatever is appended."""

    def __init__(self, model: Any, rests: list[list[int]], prefix_tokens: int, prefix_cache: Any, pad_id: int) -> None:
        import torch
        from transformers import DynamicCache

        self._model = model
        rows, longest = len(rests), max(len(rest) for rest in rests)
        padding = torch.tensor([longest - len(rest) for rest in rests])
        ids = torch.tensor([[pad_id] * (longest - len(rest)) + rest for rest in rests])
        inside = torch.arange(longest)[None, :] >= padding[:, None]
        self._mask = torch.cat([torch.ones(rows, prefix_tokens, dtype=torch.long), inside.long()], dim=1).to(model.device)
        self._next = (prefix_tokens + longest - padding).to(model.device)
        positions = (prefix_tokens + torch.arange(longest)[None, :] - padding[:, None]).clamp(min=0).to(model.device)
        if prefix_cache is None:
            self._cache = DynamicCache(config=model.config)
        else:
            self._cache = copy.deepcopy(prefix_cache)
            self._cache.batch_repeat_interleave(rows)
        self._forward(ids.to(model.device), positions)

    def append(self, tokens: list[list[int]]) -> None:
        """Feed as many further tokens to every row; `logits` are then those after the last of them."""
        import torch

        ids = torch.tensor(tokens, device=self._model.device)
        positions = self._next[:, None] + torch.arange(ids.shape[1], device=self._model.device)[None, :]
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        self._next = self._next + ids.shape[1]
        self._forward(ids, positions)

    def _forward(self, ids: Any, positions: Any) -> None:
        """Run the model over new tokens; `logits` [rows, vocabulary] are those of the last position."""
        output = self._model(
            input_ids=ids, attention_mask=self._mask, position_ids=positions, past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        self.logits = output.logits[:, -1]


class _ChoiceTokens:
    """Token ids of the fixed parts of a list of choices, checked to spell it exactly."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.opening = self._ids("[")
        self.separator = self._ids("[1, 0]")[len(self._ids("[1")) : -len(self._ids("0]"))]
        spelled = tokenizer.decode([*self.opening, self.option("1"), *self.separator, self.option("0")], clean_up_tokenization_spaces=False)
        assert spelled.endswith("[1, 0"), f"the tokenizer spells a list of choices as {spelled!r}"

    def option(self, option: str) -> int:
        """The single token of an option; raises where an option takes several."""
        ids = self._ids(option)
        if len(ids) != 1:
            raise ValueError(f"option {option!r} is {len(ids)} tokens for this tokenizer; choices must be one token each")
        return ids[0]

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]


def _decoding(request: Request) -> object:
    """What requests of one batch must have in common: lists of as many choices, or any text."""
    if isinstance(request.reply_format, JsonReply):
        return "free_text"
    return request.reply_format if isinstance(request.reply_format, ChoiceList) else "free_text"


def _pick(logits: Any, temperature: float, generator: Any) -> int:
    """Index of the likeliest entry at temperature 0, else one drawn from softmax(logits / temperature)."""
    import torch

    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=generator))


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _stops(request: Request) -> tuple[str, ...]:
    """Stop strings of a request; the end of the line too where its reply is one line already begun."""
    return (*request.stop, "\n") if request.line_prefix else request.stop


def _as_list(value: int | list[int] | None) -> list[int]:
    return [] if value is None else value if isinstance(value, list) else [value]
