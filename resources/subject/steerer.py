"""Steering: the subject model with a feature made stronger, or silent, from the last token of a prompt on.

    prompt's tokens but the last ─▶ key-value cache, once ─┐
    last token ─▶ clean, and steered by any (feature, strength) ─▶ next-token log-probabilities ─▶ KL(clean ‖ steered), completions

The intervention encodes the hook's value, adds the strength to the feature, decodes, and adds back the error of the unsteered
reconstruction. For a decoder that is linear in its features all but the change cancels: the value at `output_hook` gains strength ×
decoder row (× the value's own scale, for autoencoders that normalise it), which is what is done here. Zero-ablation takes away the encoded
activation × the same row. Neurons and random directions, which reconstruct nothing, are moved along their rows by the same rule.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resources.dictionaries.interface import Dictionary
from resources.subject.hook_edits import edited, written_points
from resources.subject.model import SubjectModel
from resources.subject.unembedding import extreme_tokens

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Interventions:
    """n ways to go on from a prompt, all arrays [n]: number of the prompt, feature, strength to add; `ablated` takes the feature away.

    Strength 0 without ablation is the clean model.
    """

    prompt: np.ndarray
    feature: np.ndarray
    strength: np.ndarray
    ablated: np.ndarray

    @classmethod
    def adding(cls, prompt: np.ndarray, feature: np.ndarray, strength: np.ndarray) -> "Interventions":
        """Strengths added to features."""
        return cls(prompt, feature, strength, np.zeros(len(prompt), dtype=bool))

    @classmethod
    def clean(cls, prompt: np.ndarray) -> "Interventions":
        """No change."""
        return cls.adding(prompt, np.zeros(len(prompt), dtype=np.int64), np.zeros(len(prompt)))

    @classmethod
    def ablating(cls, prompt: np.ndarray, feature: np.ndarray) -> "Interventions":
        """Features clamped to 0."""
        return cls(prompt, feature, np.zeros(len(prompt)), np.ones(len(prompt), dtype=bool))

    @classmethod
    def joined(cls, parts: "Sequence[Interventions]") -> "Interventions":
        """All of `parts`, one at least, in order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("prompt", "feature", "strength", "ablated")))

    def __len__(self) -> int:
        return len(self.prompt)

    def take(self, index: np.ndarray) -> "Interventions":
        """Those at `index`, in its order."""
        return Interventions(*(array[index] for array in (self.prompt, self.feature, self.strength, self.ablated)))


@dataclass(frozen=True, eq=False)
class _Prefixes:
    """Some prompts without their last tokens, padded on the left, through the model: what every continuation of them begins with.

    `members` [n] are their numbers, `cache` holds their keys and values (None where none has more than one token), `mask`
    Tensor[n, longest] says which are tokens, `last` Tensor[n] are the last tokens.
    """

    members: np.ndarray
    cache: Any
    mask: "torch.Tensor"
    last: "torch.Tensor"


@dataclass(frozen=True, eq=False)
class PreparedPrompts:
    """Prompts with their beginnings cached. `clean`, float32 Tensor[n, vocabulary]: log-probabilities of the clean model's next token."""

    prefixes: tuple[_Prefixes, ...]
    clean: "torch.Tensor"


@dataclass(frozen=True, eq=False)
class TokenShifts:
    """The next tokens whose probability an intervention raised most and lowered most, [n, 2, k] each: first those raised.

    `token_ids` int64; `clean` and `steered` are their log-probabilities, float32.
    """

    token_ids: np.ndarray
    clean: np.ndarray
    steered: np.ndarray

    def take(self, index: slice) -> "TokenShifts":
        """Those of some interventions."""
        return TokenShifts(self.token_ids[index], self.clean[index], self.steered[index])


class Steerer:
    """Steers one subject model by the features of one dictionary, at most `batch_rows` sequences at a time.

    Raises `UnknownHook` for hooks that the model does not have.
    """

    def __init__(self, subject: SubjectModel, dictionary: Dictionary, batch_rows: int = 128) -> None:
        self._subject, self._batch_rows = subject, batch_rows
        self._dictionary = dictionary.to(subject.device)
        self._read = subject.resolve_hook(dictionary.hook)
        self._written = written_points(subject, dictionary.output_hook)

    def prepare(self, prompts: Sequence[np.ndarray]) -> PreparedPrompts:
        """Run `prompts`, token ids [length] with a token at least, up to their last tokens, and the clean model over those."""
        import torch

        assert all(len(prompt) for prompt in prompts), "a prompt without tokens has nothing to steer"
        by_length = np.argsort([len(prompt) for prompt in prompts], kind="stable")
        groups = [by_length[first : first + self._batch_rows] for first in range(0, len(prompts), self._batch_rows)]
        prefixes = tuple(self._prefixes(members, [prompts[i] for i in members]) for members in groups)
        clean = torch.empty(0, 0)
        everyone = Interventions.clean(np.arange(len(prompts)))
        for index, run in self._runs(prefixes, everyone):
            found = run.next_logits().log_softmax(-1)
            if not len(clean):
                clean = torch.empty(len(prompts), found.shape[1], device=found.device)
            clean[torch.from_numpy(index).to(found.device)] = found
        return PreparedPrompts(prefixes, clean)

    def divergences(self, prompts: PreparedPrompts, interventions: Interventions) -> np.ndarray:
        """float64 [n], nats, >= 0: KL(clean ‖ steered) of the token after each prompt; infinite where the steered model overflows."""
        import torch

        found = np.empty(len(interventions))
        for index, run in self._runs(prompts.prefixes, interventions):
            steered = run.next_logits().log_softmax(-1)
            clean = prompts.clean[torch.from_numpy(interventions.prompt[index]).to(steered.device)]
            kl = torch.nn.functional.kl_div(steered, clean, reduction="none", log_target=True).sum(-1, dtype=torch.float64)
            found[index] = kl.nan_to_num(nan=torch.inf).clamp(min=0).cpu().numpy()
        return found

    def shifts(self, prompts: PreparedPrompts, interventions: Interventions, n_tokens: int, left_out: Sequence[int] = ()) -> TokenShifts:
        """The `n_tokens` next tokens whose probability rose most, and as many that fell most; ids `left_out` are in neither."""
        import torch

        n_tokens = min(n_tokens, prompts.clean.shape[1] - len(left_out))
        shape = (len(interventions), 2, n_tokens)
        found = TokenShifts(np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32))
        for index, run in self._runs(prompts.prefixes, interventions):
            steered = run.next_logits().log_softmax(-1)
            clean = prompts.clean[torch.from_numpy(interventions.prompt[index]).to(steered.device)]
            ids, _ = extreme_tokens(steered.exp() - clean.exp(), left_out, n_tokens)
            found.token_ids[index] = ids.cpu().numpy()
            for logprobs, kept in ((clean, found.clean), (steered, found.steered)):
                kept[index] = logprobs.gather(1, ids.flatten(1)).view(ids.shape).cpu().numpy()
        return found

    def completions(
        self, prompts: PreparedPrompts, interventions: Interventions, uniforms: np.ndarray, temperature: float = 1.0
    ) -> list[list[int]]:
        """Token ids sampled after each prompt, without the end-of-text token that ends some early.

        `uniforms`, float64 [n, most tokens] in [0, 1), are all the randomness: token t is where the cumulative probability of the
        vocabulary, in the order of ids, passes `uniforms[i, t]`. So a row's text depends on neither the other rows nor their order.
        """
        import torch

        found: list[list[int]] = [[] for _ in range(len(interventions))]
        for index, run in self._runs(prompts.prefixes, interventions):
            draws = torch.from_numpy(np.asarray(uniforms, dtype=np.float64)[index]).to(self._subject.device)
            tokens: list[torch.Tensor] = []
            for step in range(draws.shape[1]):
                logits = run.next_logits(tokens[-1] if tokens else None)
                mass = (logits / temperature).softmax(-1, dtype=torch.float64).cumsum(-1)
                place = torch.searchsorted(mass, draws[:, step : step + 1] * mass[:, -1:], right=True)
                tokens.append(place.clamp(max=mass.shape[1] - 1)[:, 0])
            for number, ids in zip(index.tolist(), torch.stack(tokens, dim=1).tolist() if tokens else [], strict=True):
                end = ids.index(self._subject.eos_token_id) if self._subject.eos_token_id in ids else len(ids)
                found[number] = ids[:end]
        return found

    def _prefixes(self, members: np.ndarray, prompts: Sequence[np.ndarray]) -> _Prefixes:
        import torch
        from transformers import DynamicCache

        longest = max(len(prompt) for prompt in prompts) - 1
        ids, mask = np.zeros((len(prompts), longest), dtype=np.int64), np.zeros((len(prompts), longest), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            first = longest - (len(prompt) - 1)
            ids[row, first:], mask[row, first:] = prompt[:-1], 1
        device, model = self._subject.device, self._subject.model
        on_device = torch.from_numpy(mask).to(device)
        last = torch.tensor([int(prompt[-1]) for prompt in prompts], device=device)
        if not longest:
            return _Prefixes(members, None, on_device, last)
        cache = DynamicCache(config=model.config)
        positions = (on_device.cumsum(1) - 1).clamp(min=0)
        with torch.inference_mode():
            model(
                input_ids=torch.from_numpy(ids).to(device), attention_mask=on_device, position_ids=positions, past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
        return _Prefixes(members, cache, on_device, last)

    def _runs(self, prefixes: Sequence[_Prefixes], interventions: Interventions) -> Iterator[tuple[np.ndarray, "_Run"]]:
        """Batches of the interventions, as places among them and the model about to read the last tokens of their prompts."""
        import torch

        for group in prefixes:
            place = np.full(int(max(interventions.prompt.max(initial=0), group.members.max())) + 1, -1)
            place[group.members] = np.arange(len(group.members))
            own = np.flatnonzero(place[interventions.prompt] >= 0)
            for first in range(0, len(own), self._batch_rows):
                index = own[first : first + self._batch_rows]
                part = interventions.take(index)
                rows = torch.from_numpy(place[part.prompt]).to(self._subject.device)
                yield index, _Run(self._subject, group, rows, self._edit_of(part))

    def _edit_of(self, interventions: Interventions) -> Callable[[], Any]:
        """A context manager of the interventions: while open, every forward pass of as many rows of one token is changed by them."""
        import torch

        device = self._subject.device
        features, inverse = np.unique(interventions.feature, return_inverse=True)
        rows = torch.stack([self._dictionary.decoder_row(feature).float() for feature in features.tolist()]).to(device)
        rows = rows[torch.from_numpy(inverse).to(device)]
        strength = torch.from_numpy(interventions.strength.astype(np.float32)).to(device)
        feature, ablated = (torch.from_numpy(array).to(device) for array in (interventions.feature.astype(np.int64), interventions.ablated))

        def change(value: "torch.Tensor") -> "torch.Tensor":
            """Tensor[rows, 1, d_out] that is added to the value at `output_hook`, from Tensor[rows, 1, d_in], the value at `hook`."""
            x, amount = value[:, -1], strength
            if interventions.ablated.any():
                encoded = self._dictionary.encode(x)
                own = (encoded.feature == feature[encoded.token]) & ablated[encoded.token]
                amount = strength.index_add(0, encoded.token[own], -encoded.value[own].float())
            scale = getattr(self._dictionary, "output_scale", None)
            return (amount[:, None] * rows * (1.0 if scale is None else scale(x)))[:, None]

        return lambda: edited(self._subject, self._read, self._written, change)


class _Run:
    """Sequences that have their prefixes behind them; each call of `next_logits` reads one token of each."""

    def __init__(self, subject: SubjectModel, prefixes: _Prefixes, rows: "torch.Tensor", edit: Callable[[], Any]) -> None:
        """`rows`, Tensor[n], are places among the prefixes."""
        from transformers import DynamicCache

        self._model, self._edit = subject.model, edit
        self._mask, self._last = prefixes.mask[rows], prefixes.last[rows]
        if prefixes.cache is None:
            self._cache = DynamicCache(config=self._model.config)
        else:
            self._cache = copy.copy(prefixes.cache)
            # Selecting makes new tensors, so that the layers, copied without theirs, leave the prefixes' own as they are.
            self._cache.layers = [copy.copy(layer) for layer in prefixes.cache.layers]
            self._cache.batch_select_indices(rows)

    def next_logits(self, tokens: "torch.Tensor | None" = None) -> "torch.Tensor":
        """float32 Tensor[n, vocabulary] after `tokens`, Tensor[n]; None: after the last tokens of the prompts."""
        import torch

        ids = self._last if tokens is None else tokens
        self._mask = torch.cat([self._mask, torch.ones_like(ids)[:, None]], dim=1)
        positions = self._mask.sum(1, keepdim=True) - 1
        with torch.inference_mode(), self._edit():
            output = self._model(
                input_ids=ids[:, None], attention_mask=self._mask, position_ids=positions, past_key_values=self._cache, use_cache=True
            )
        return output.logits[:, -1].float()
