"""A batch of prompts in a `transformers` model: one shared prefix, then the rests of the prompts, then appended tokens."""

# pyright: reportAttributeAccessIssue=false
# Where the package `transformers` is not installed, pyright takes this folder's transformers.py for it.
import copy
from collections.abc import Callable, Sequence
from typing import Any

from resources.language_models.tokens.suffix_tokens import SuffixTokens
from resources.language_models.transformers_local.ways import Way, empty_cache, forget_longest, forward_arguments

HEAD_POSITIONS = 512  # positions whose logits, a vocabulary each, are in memory at once


def prefilled(model: Any, prefix: Sequence[int], way: Way, pad_id: int = 0, root: Sequence[int] = (), root_cache: Any = None) -> Any:
    """Cache of a prefix for one sequence; None for an empty prefix. `root_cache` is the cache of `root`, with which the prefix begins."""
    import torch

    if not prefix:
        return None
    if root and len(root) == len(prefix):
        return root_cache
    if root:
        with torch.inference_mode():
            return Decoder(model, [prefix[len(root) :]], root, root_cache, pad_id, way).cache
    cache = empty_cache(model, way)
    with torch.inference_mode():
        ids = torch.tensor([list(prefix)], device=model.device)
        model(**forward_arguments(model)(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1))
    return cache


class Decoder:
    """A batch under way. `logits` [rows, vocabulary] are the logits after the last token of every row, `read` all tokens of every row.

    The tokens of a row stand together, and all padding is on their left. So the distance between two places of a row is the distance
    between their tokens, on which sliding windows and chunks depend. Where rows are given different numbers of tokens, the content of a
    shorter row moves to the right, and tokens that would come to lie in the padding are read again. With `keep_hidden`, `hidden` [rows,
    positions, width] are the trunk's outputs at the last positions of the rests.
    """

    def __init__(
        self,
        model: Any,
        rests: Sequence[Sequence[int]],
        prefix: Sequence[int],
        prefix_cache: Any,
        pad_id: int,
        way: Way,
        keep_hidden: bool = False,
    ) -> None:
        assert way.batched or len(rests) == 1, f"{len(rests)} rows cannot run {way.name}"
        self._model, self._pad_id, self._way = model, pad_id, way
        self._arguments = forward_arguments(model)
        self.read: list[list[int]] = [list(prefix) for _ in rests]
        self._slots = len(prefix)  # places of every row in the cache, padding too
        self.cache: Any = None if not way.cached else empty_cache(model, way) if prefix_cache is None else copy.deepcopy(prefix_cache)
        if way.batched:
            self._place([0] * len(rests), _missing(rests))
        self.hidden: Any = None
        self._feed_and_keep(rests, keep_hidden)

    def append(self, tokens: Sequence[Sequence[int]], keep_hidden: bool = False) -> None:
        """Feed at least one further token to every row; `logits` are then the logits after the last of these tokens.

        With `keep_hidden`, `hidden` is then about these tokens.
        """
        if not self._way.whole_pieces:
            for token in tokens[0]:
                self._feed([[token]])
            return
        missing = _missing(tokens)
        if any(missing):
            self._place(list(range(len(tokens))), missing)
        self._feed_and_keep(tokens, keep_hidden)

    def _feed_and_keep(self, tokens: Sequence[Sequence[int]], keep_hidden: bool) -> None:
        kept: list[Any] = []
        hook = self._model.base_model.register_forward_hook(lambda module, inputs, output: kept.append(output[0])) if keep_hidden else None
        self._feed(tokens)
        if hook is not None:
            hook.remove()
            self.hidden = kept[0] if kept else None  # some models call their trunk by another way

    def _place(self, sources: list[int], missing: list[int]) -> None:
        """Move the content of cache row `sources[i]` into row i, `missing[i]` places to the right; entries beyond the end are dropped."""
        import torch

        if self._slots == 0:
            return
        device = self._model.device
        places = (torch.arange(self._slots)[None, :] - torch.tensor(missing)[:, None]).clamp(min=0)[:, None, :].to(device)
        rows = torch.tensor(sources)[:, None, None].to(device)
        for layer in self.cache.layers:
            if layer.is_initialized and layer.keys.numel():
                layer.keys, layer.values = _gathered(layer.keys, rows, places), _gathered(layer.values, rows, places)

    def _feed(self, tokens: Sequence[Sequence[int]]) -> None:
        """One forward pass. Shorter rows are filled up in front: by their own last tokens, or by padding before the first token."""
        import torch

        if not self._way.cached:
            return self._feed_all(tokens)
        longest, device = max(len(row) for row in tokens), self._model.device
        inputs, self._slots = [], self._slots + longest
        for number, row in enumerate(tokens):
            self.read[number] = [*self.read[number], *row]
            inputs.append(self.read[number][-longest:])
        lengths = torch.tensor([[len(read)] for read in self.read])
        positions = torch.arange(self._slots)[None, :] - (self._slots - lengths)
        padding = {"attention_mask": (positions >= 0).long().to(device)} if self._way.batched else {}
        output = self._model(
            **self._arguments(
                input_ids=torch.tensor([[self._pad_id] * (longest - len(row)) + row for row in inputs]).to(device),
                position_ids=positions[:, -longest:].clamp(min=0).to(device),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
                **padding,
            )
        )
        self.logits = output.logits[:, -1]

    def _feed_all(self, tokens: Sequence[Sequence[int]]) -> None:
        """A plain forward pass over the one row from its beginning."""
        import torch

        self.read = [[*self.read[0], *tokens[0]]]
        forget_longest(self._model)
        ids = torch.tensor(self.read, device=self._model.device)
        self.logits = self._model(**self._arguments(input_ids=ids, use_cache=False, logits_to_keep=1)).logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order; a row may come several times. The memory of all other rows is freed."""
        import torch

        if len(rows) == len(self.read) == 1:
            return
        chosen = torch.tensor(rows, dtype=torch.long, device=self._model.device)
        self.cache.batch_select_indices(chosen)
        self.read, self.logits = [self.read[row] for row in rows], self.logits[chosen]

    def logits_after(self, tokens: Sequence[int]) -> Any:
        """[rows, vocabulary] logits after `tokens`. Every row is given the tokens and then forgets them."""
        kept = copy.copy(self)
        kept.cache, kept.read = copy.deepcopy(self.cache), list(self.read)
        kept.append([tokens] * len(self.read))
        return kept.logits


def _gathered(states: Any, rows: Any, places: Any) -> Any:
    """[rows, heads, places, width]: the rows and slots of [n, heads, slots, width] that Tensor[rows, 1, 1] and [rows, 1, places] name."""
    import torch

    heads = torch.arange(states.shape[1], device=states.device)[None, :, None]
    return states[rows.to(states.device), heads, places.to(states.device)]


def _missing(tokens: Sequence[Sequence[int]]) -> list[int]:
    """For each row, the number of tokens that it has less than the longest row."""
    longest = max(map(len, tokens))
    return [longest - len(row) for row in tokens]


def read_suffixes(
    model: Any, decoder: Decoder, suffixes: Sequence[SuffixTokens], tokens_after: int
) -> list[tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]]:
    """For each row: log-probabilities of its suffix's tokens, and at its places the options' probabilities, renormalised over the options.

    `decoder` was made with `keep_hidden`, and every row's rest is the end of its prompt (at least one token), its suffix, and
    `tokens_after` further tokens. The logits of HEAD_POSITIONS positions are in memory at once.
    """
    import torch

    device = model.device
    head = _output_head(model, decoder)
    if head is None:
        head = _as_they_are
        pairs = zip(decoder.read, suffixes, strict=True)
        hidden = torch.cat([_plain_logits(model, read, len(suffix.ids), tokens_after) for read, suffix in pairs])
    else:
        longest = decoder.hidden.shape[1]
        rows = [row for row, suffix in enumerate(suffixes) for _ in suffix.ids]
        columns = [longest - tokens_after - len(suffix.ids) - 1 + number for suffix in suffixes for number in range(len(suffix.ids))]
        hidden = decoder.hidden[torch.tensor(rows, device=device), torch.tensor(columns, device=device)]
    targets = torch.tensor([token for suffix in suffixes for token in suffix.ids], device=device)
    firsts = [sum(len(suffix.ids) for suffix in suffixes[:row]) for row in range(len(suffixes))]
    asked = [(first + place, ids) for first, suffix in zip(firsts, suffixes, strict=True)
             for place, ids in zip(suffix.places, suffix.option_ids, strict=True)]  # fmt: skip
    logprobs: list[float] = []
    shares: dict[int, tuple[float, ...]] = {}
    for start in range(0, len(hidden), HEAD_POSITIONS):
        logits = head(hidden[start : start + HEAD_POSITIONS])
        chosen = logits.gather(1, targets[start : start + HEAD_POSITIONS, None])[:, 0]
        logprobs += (chosen - logits.logsumexp(-1)).tolist()
        for width in {len(ids) for place, ids in asked if start <= place < start + len(logits)}:
            here = [(place, ids) for place, ids in asked if start <= place < start + len(logits) and len(ids) == width]
            options = logits[[place - start for place, _ in here]].gather(1, torch.tensor([ids for _, ids in here], device=device))
            shares |= zip((place for place, _ in here), map(tuple, torch.softmax(options, -1).tolist()), strict=True)
    return [
        (tuple(logprobs[first : first + len(suffix.ids)]), tuple(shares[first + place] for place in suffix.places))
        for first, suffix in zip(firsts, suffixes, strict=True)
    ]


def _as_they_are(logits: Any) -> Any:
    return logits.float()


def _plain_logits(model: Any, read: Sequence[int], n_tokens: int, tokens_after: int) -> Any:
    """[n_tokens, vocabulary] logits before each of the last `n_tokens` tokens of `read` without its final `tokens_after`, by a separate
    pass."""
    import torch

    forget_longest(model)
    ids = torch.tensor([list(read)[: len(read) - tokens_after]], device=model.device)
    logits = model(**forward_arguments(model)(input_ids=ids, use_cache=False, logits_to_keep=n_tokens + 1)).logits[0]
    return logits[-n_tokens - 1 : -1]


def _output_head(model: Any, decoder: Decoder) -> Callable[[Any], Any] | None:
    """A function from trunk outputs [n, width] to float32 logits [n, vocabulary]; None where its logits after the batch's last tokens
    differ from the model's own."""
    import torch

    config = model.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)  # Cohere's; Granite's, a divisor
    cap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
    noise = 1e-4 if model.dtype == torch.float32 else 0.01
    layer = model.get_output_embeddings()
    if layer is None or decoder.hidden is None or not isinstance(scale, int | float):
        return None

    def head(hidden: Any) -> Any:
        logits = layer(hidden).float() * scale
        return cap * torch.tanh(logits / cap) if cap else logits

    own = decoder.logits.float()
    found = head(decoder.hidden[:, -1]) if decoder.hidden.shape[-1] == getattr(layer, "in_features", decoder.hidden.shape[-1]) else None
    right = found is not None and found.shape == own.shape and torch.allclose(found, own, rtol=0, atol=noise * float(own.abs().max()))
    return head if right else None
