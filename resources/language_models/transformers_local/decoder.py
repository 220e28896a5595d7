"""A batch of prompts going through a `transformers` model: one shared prefix, then the rests of the prompts, then what is appended."""

# pyright: reportAttributeAccessIssue=false
# Where the package `transformers` is not installed, pyright takes this folder's transformers.py for it.
import copy
from collections.abc import Callable, Sequence
from typing import Any

from resources.language_models.interface import UnsupportedRequest
from resources.language_models.tokens.suffix_tokens import SuffixTokens

HEAD_POSITIONS = 512  # positions whose logits, a vocabulary each, are held at once


def prefilled(model: Any, prefix: Sequence[int]) -> Any:
    """Key-value cache of a prefix for one sequence; None for an empty prefix."""
    import torch
    from transformers import DynamicCache

    if not prefix:
        return None
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        ids = torch.tensor([list(prefix)], device=model.device)
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


class Decoder:
    """A batch under way. `logits` [rows, vocabulary] are those after the last token of every row.

    Rows are padded on their left, at the beginning and wherever they are given unequally many tokens. With `keep_hidden`, `hidden`
    [rows, positions, width] are the trunk's outputs at the rests' positions.
    """

    def __init__(
        self, model: Any, rests: Sequence[Sequence[int]], prefix_tokens: int, prefix_cache: Any, pad_id: int, keep_hidden: bool = False
    ) -> None:
        import torch
        from transformers import DynamicCache

        self._model, self._pad_id = model, pad_id
        self._mask = torch.ones(len(rests), prefix_tokens, dtype=torch.long, device=model.device)
        self._next = torch.full((len(rests),), prefix_tokens, device=model.device)
        if prefix_cache is None:
            self._cache = DynamicCache(config=model.config)
        else:
            self._cache = copy.deepcopy(prefix_cache)
            self._cache.batch_repeat_interleave(len(rests))
        kept: list[Any] = []
        hook = model.base_model.register_forward_hook(lambda module, inputs, output: kept.append(output[0])) if keep_hidden else None
        self.append(rests)
        if hook is not None:
            hook.remove()
            (self.hidden,) = kept

    def append(self, tokens: Sequence[Sequence[int]]) -> None:
        """Feed further tokens, at least one, to every row; `logits` are then those after the last of them."""
        import torch

        device, longest = self._model.device, max(len(row) for row in tokens)
        padding = torch.tensor([longest - len(row) for row in tokens])
        ids = torch.tensor([[self._pad_id] * (longest - len(row)) + list(row) for row in tokens]).to(device)
        places = torch.arange(longest)[None, :] - padding[:, None]
        self._mask = torch.cat([self._mask, (places >= 0).long().to(device)], dim=1)
        positions = (self._next[:, None] + places.to(device)).clamp(min=0)
        self._next = self._next + longest - padding.to(device)
        output = self._model(
            input_ids=ids, attention_mask=self._mask, position_ids=positions, past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        self.logits = output.logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order; the others' memory is freed."""
        import torch

        chosen = torch.tensor(rows, dtype=torch.long, device=self._model.device)
        self._cache.batch_select_indices(chosen)
        self._mask, self._next, self.logits = self._mask[chosen], self._next[chosen], self.logits[chosen]

    def logits_after(self, tokens: Sequence[int]) -> Any:
        """[rows, vocabulary] logits after `tokens`, which every row is given and then forgets."""
        kept = copy.copy(self)
        kept._cache = copy.deepcopy(self._cache)
        kept.append([tokens] * len(self._mask))
        return kept.logits


def read_suffixes(
    model: Any, decoder: Decoder, suffixes: Sequence[SuffixTokens], tokens_after: int
) -> list[tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]]:
    """Of each row: log-probabilities of its suffix's tokens, and at its places the options' probabilities, renormalised over the options.

    `decoder` was made with `keep_hidden`, and every row's rest is the end of its prompt (a token at least), its suffix, and `tokens_after`
    further tokens. The logits of HEAD_POSITIONS positions are held at once.
    """
    import torch

    head = _output_head(model, decoder)
    device, longest = model.device, decoder.hidden.shape[1]
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


def _output_head(model: Any, decoder: Decoder) -> Callable[[Any], Any]:
    """float32 logits [n, vocabulary] from trunk outputs [n, width], checked against the model's own after the batch's last tokens."""
    import torch

    config = model.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)  # Cohere's; Granite's, a divisor
    cap = getattr(config, "final_logit_softcapping", None)

    def head(hidden: Any) -> Any:
        logits = model.get_output_embeddings()(hidden).float() * scale
        return cap * torch.tanh(logits / cap) if cap else logits

    own = decoder.logits.float()
    if not torch.allclose(head(decoder.hidden[:, -1]), own, rtol=0, atol=0.02 * float(own.abs().max())):
        raise UnsupportedRequest(
            f"{type(model).__name__} makes its logits in a way that is not known here, so its suffixes cannot be read in blocks; use the "
            "vllm back end, or a server, for this model."
        )
    return head
