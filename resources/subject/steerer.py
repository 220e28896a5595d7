"""Steering: the subject model with a feature made stronger, or silent, from the last token of a prompt on.

    prompt's tokens but the last ─▶ key-value cache, once ─┐
    last token ─▶ clean, and steered by any (feature, strength) ─▶ next-token log-probabilities ─▶ KL(clean ‖ steered), completions

The intervention encodes the hook's value, adds the strength to the feature, decodes, and adds back the error of the unsteered
reconstruction. For a decoder that is linear in its features only the change remains: the value at `output_hook` gains strength ×
decoder row (× the value's own scale, for autoencoders that normalise it). The code adds this change. Zero-ablation takes away the encoded
activation × the same row. A feature that writes at several hooks changes each by its own row. Neurons and random directions, which
reconstruct nothing, are moved along their rows by the same rule.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resources.dictionaries.interface import Dictionary, DictionaryError, read_hooks, rows_by_hook, written_hooks
from resources.subject.continuation import Continuation, Prefixes, prefixes_of
from resources.subject.hook_edits import Read, Written, all_written_points, edited
from resources.subject.model import SubjectModel
from resources.subject.unembedding import extreme_tokens

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Interventions:
    """n continuations of prompts, all arrays [n]: number of the prompt, feature, strength to add; `ablated` takes the feature away.

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
        """All of `parts`, at least one, in order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("prompt", "feature", "strength", "ablated")))

    def __len__(self) -> int:
        return len(self.prompt)

    def take(self, index: np.ndarray) -> "Interventions":
        """The interventions at `index`, in the order of `index`."""
        return Interventions(*(array[index] for array in (self.prompt, self.feature, self.strength, self.ablated)))


@dataclass(frozen=True, eq=False)
class PreparedPrompts:
    """Prompts with cached beginnings. `clean`, float32 Tensor[n, vocabulary]: log-probabilities of the clean model's next token.

    `longest` is the number of tokens of the longest prompt, 0 without prompts.
    """

    prefixes: tuple[Prefixes, ...]
    clean: "torch.Tensor"
    longest: int


@dataclass(frozen=True, eq=False)
class TokenShifts:
    """The next tokens whose probability an intervention raised most and lowered most, [n, 2, k] each: raised tokens, then lowered tokens.

    `token_ids` int64; `clean` and `steered` are log-probabilities of these tokens, float32.
    """

    token_ids: np.ndarray
    clean: np.ndarray
    steered: np.ndarray

    def take(self, index: slice) -> "TokenShifts":
        """The shifts of some interventions."""
        return TokenShifts(self.token_ids[index], self.clean[index], self.steered[index])


class Steerer:
    """Steers one subject model by the features of one dictionary, at most `batch_rows` sequences at a time.

    Raises `UnknownHook` for hooks that the model does not have.
    """

    def __init__(self, subject: SubjectModel, dictionary: Dictionary, batch_rows: int = 128) -> None:
        self._subject, self._batch_rows = subject, batch_rows
        self._dictionary = dictionary.to(subject.device)
        self._reads = [subject.resolve_hook(hook) for hook in read_hooks(dictionary)]
        self._written = all_written_points(subject, written_hooks(dictionary))

    def prepare(self, prompts: Sequence[np.ndarray], new_tokens: int = 1) -> PreparedPrompts:
        """Run `prompts`, token ids [length] of at least one token, up to their last tokens, and the clean model over the last tokens.

        Raises `ContextTooLong` where the longest prompt and completions of `new_tokens` are more than the model reads.
        """
        import torch

        assert all(len(prompt) for prompt in prompts), "a prompt without tokens has nothing to steer"
        longest = max((len(prompt) for prompt in prompts), default=0)
        self._subject.refuse_long_completion(longest, new_tokens)
        prefixes = prefixes_of(self._subject, prompts, self._batch_rows)
        clean = torch.empty(0, 0)
        everyone = Interventions.clean(np.arange(len(prompts)))
        for index, run in self._runs(prefixes, everyone):
            found = run.next_logits().log_softmax(-1)
            if not len(clean):
                clean = torch.empty(len(prompts), found.shape[1], device=found.device)
            clean[torch.from_numpy(index).to(found.device)] = found
        return PreparedPrompts(prefixes, clean, longest)

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
        """The `n_tokens` next tokens whose probability rose most, and as many whose probability fell most; ids `left_out` are in neither
        list."""
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
        """Token ids sampled after each prompt, without the end-of-text token of a completion that ends early.

        `uniforms`, float64 [n, most tokens] in [0, 1), are the only randomness: token t is where the cumulative probability of the
        vocabulary, in the order of ids, passes `uniforms[i, t]`. So a row's text depends neither on other rows nor on their order.
        Raises `ContextTooLong` where the longest prompt and its completion are more than the model reads.
        """
        import torch

        self._subject.refuse_long_completion(prompts.longest, np.shape(uniforms)[1])

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

    def _runs(self, prefixes: Sequence[Prefixes], interventions: Interventions) -> Iterator[tuple[np.ndarray, Continuation]]:
        """Batches of the interventions: their indices, and the model ready to read the last tokens of their prompts."""
        import torch

        for group in prefixes:
            place = np.full(int(max(interventions.prompt.max(initial=0), group.members.max())) + 1, -1)
            place[group.members] = np.arange(len(group.members))
            own = np.flatnonzero(place[interventions.prompt] >= 0)
            for first in range(0, len(own), self._batch_rows):
                index = own[first : first + self._batch_rows]
                part = interventions.take(index)
                rows = torch.from_numpy(place[part.prompt]).to(self._subject.device)
                yield index, group.continued(self._subject, rows, self._edit_of(part))

    def _edit_of(self, interventions: Interventions) -> Callable[[int], Any]:
        """A context manager of the interventions on the last n tokens. While open, they change these tokens in every pass of as many
        rows."""
        import torch

        device = self._subject.device
        features, inverse = np.unique(interventions.feature, return_inverse=True)
        rows = torch.stack([self._dictionary.decoder_row(feature).float() for feature in features.tolist()]).to(device)
        rows = rows[torch.from_numpy(inverse).to(device)]
        strength = torch.from_numpy(interventions.strength.astype(np.float32)).to(device)
        feature, ablated = (torch.from_numpy(array).to(device) for array in (interventions.feature.astype(np.int64), interventions.ablated))

        held: list[Any] = []

        def amounts(x: "torch.Tensor", n_tokens: int) -> "torch.Tensor":
            """Tensor[rows x tokens]: what is added to each row's feature, from the values x at the hooks."""
            amount = strength.repeat_interleave(n_tokens)
            if not interventions.ablated.any():
                return amount
            if getattr(self._dictionary, "whole_contexts", False):
                raise DictionaryError(
                    "features of a dictionary that reads whole contexts are not known at the last tokens alone: none can be taken away. "
                    "Set steering.zero_ablation to false in the record's stages."
                )
            encoded = self._dictionary.encode(x)
            row = encoded.token // n_tokens
            own = (encoded.feature == feature[row]) & ablated[row]
            return amount.index_add(0, encoded.token[own], -encoded.value[own].float())

        def change(read: Read, to: Written, n_tokens: int) -> "torch.Tensor":
            """Tensor[rows, tokens, d_out] that is added at a written hook, from the values at the hooks that are read."""
            first = next(iter(read.values()))
            x = self._side_by_side(read, n_tokens)
            written = rows_by_hook(self._dictionary, rows)[to.place]
            own_rows = written.repeat_interleave(n_tokens, dim=0)
            if len(read) < len(self._reads):
                writes_here = written.any(dim=1).cpu().numpy()
                self._refuse_unread(interventions.take(np.flatnonzero(writes_here & interventions.ablated)), set(read), to)
            scale = getattr(self._dictionary, "output_scale", None)
            if not held or held[0].keys() != read.keys() or any(held[0][place] is not value for place, value in read.items()):
                held[:] = [dict(read), amounts(x, n_tokens)]  # once for all hooks that are written after these reads
            added = held[1][:, None] * own_rows * (1.0 if scale is None else scale(x))
            return torch.nn.functional.pad(added.view(len(rows), n_tokens, -1), (0, 0, first.shape[1] - n_tokens, 0))

        return lambda n_tokens: edited(self._subject, self._reads, self._written, lambda read, to: change(read, to, n_tokens))

    def _side_by_side(self, read: Read, n_tokens: int) -> "torch.Tensor":
        """Tensor[rows x tokens, d_in]: the values at the last tokens of all hooks that are read, zeros where a hook is not reached yet."""
        import torch

        parts = {place: value[:, -n_tokens:].to(self._subject.device).flatten(0, 1) for place, value in read.items()}
        if len(self._reads) == 1:
            return parts[0]
        widths = self._dictionary.read_widths  # type: ignore[attr-defined]
        known = next(iter(parts.values()))
        return torch.cat([parts.get(place, known.new_zeros(len(known), width)) for place, width in enumerate(widths)], dim=-1)

    def _refuse_unread(self, ablations: Interventions, seen: set[int], to: Written) -> None:
        """Raise `DictionaryError` where a feature that is taken away reads a hook behind the point that it writes at."""
        for feature in np.unique(ablations.feature).tolist():
            unread = [place for place in self._dictionary.reads_of(feature) if place not in seen]  # type: ignore[attr-defined]
            if unread:
                raise DictionaryError(
                    f"feature {feature} reads {self._reads[unread[0]].name}, which comes after {to.point.name}, where it writes: its "
                    "activation is not known there. Set steering.zero_ablation to false in the record's stages."
                )
