"""Steering in batches from cached prompts against the naive way, and what each output-centric method costs beside max_act.

    python benchmarks/steering.py [--quick] [--features 8] [--prompts 10] [--naive-features 2]

Steers features of the demo's SAE in SmolLM2 to some KL divergences and samples completions, twice: as the asset does, all features and
prompts together with their beginnings cached; and one prompt, one feature and one strength at a time, the whole text through the model
again for every token, with a hook made by hand: the first features alone, at minutes each. Both must find the same strengths and
divergences, or the run fails. Texts are the same but for draws among the vocabulary's unlikeliest tokens, thousands of which share a
thousandth: there a rounding error picks a neighbour.

Then the cost of a feature by method: max_act needs a harvest (here of part of the sample, multiplied up to 10 M tokens and shared by all
features of the dictionary) and an explanation; token_change clamped forward passes, on the paper's 32 windows of 32 tokens; vocab_proj
a product with the unembedding. The same explainer is asked by all. The last line is one JSON object; ratios are of this one run.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from harvest import RECORD, token_rows

from interp_assets.asking.questions import request_of
from interp_assets.assets.steering.features import steered_features
from interp_assets.assets.token_changes.changes import changed_block
from interp_assets.assets.vocabulary_projections.projections import projected_blocks
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import LanguageModelSettings, ProjectionSettings
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.explaining import Explainer, ExplainingSettings, max_act, token_change, vocab_proj
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, TokenChanges
from interp_assets.domain.seeds import generator
from interp_assets.domain.steering.strengths import SteeringPrompts, SteeringSettings, Tuned, steering_prompts, tune
from interp_assets.domain.steering.token_changes import TokenChangeSettings, clamped_windows
from interp_assets.measuring.vocabulary import VocabularyTexts
from resources.model_provider import RealModels
from resources.subject.clamper import Clamper
from resources.subject.steerer import Steerer

PAPER_TOKENS = 10_000_000
"""Tokens of the harvest that max_act explanations are made from (arXiv 2410.13928)."""

WINDOW_TOKENS, N_SHOWN = 32, 40
SEED = 0


class Bench:
    """The subject, the demo's SAE, token rows with their activations, and some features that fire often enough."""

    def __init__(self, n_rows: int, n_features: int, settings: SteeringSettings) -> None:
        self.record = DictionaryRegistry.parse(RECORD.read_text(), str(RECORD)).model_copy(update={"features": None})
        self.models, model = RealModels(), self.record.model
        self.tokenizer = self.models.tokenizer(model.source, model.revision)
        self.subject = self.models.subject(model.source, model.revision, model.dtype)
        self.dictionary = self.models.dictionary(kind=self.record.kind, **self.record.loader_fields, device=str(self.subject.device))
        self.texts = VocabularyTexts(self.tokenizer)
        self.rows = token_rows(self.tokenizer, n_rows)
        self.subject.hook_values(self.rows[:4], [self.record.hook])
        started = time.perf_counter()
        batches = list(self.subject.sparse_activations(self.rows, {self.record.key: self.dictionary}))
        self.harvest_seconds_a_token = (time.perf_counter() - started) / self.rows.size
        feature = np.concatenate([batch.feature for batch in batches])
        position = np.concatenate([batch.row.astype(np.int64) * self.rows.shape[1] + batch.position for batch in batches])
        value = np.concatenate([batch.value for batch in batches])
        order = np.lexsort((position, feature))
        self._feature, self._position, self._value = feature[order], position[order], value[order]
        self.prompts: list[tuple[int, SteeringPrompts]] = []
        for candidate in np.random.default_rng(SEED).permutation(self.record.width).tolist():
            rng = generator(SEED, candidate, "steering prompts")
            prompts = steering_prompts(*self.activations(candidate), self.rows, settings, rng, 1)
            if prompts.outcome == "ok" and len(self.prompts) < n_features:
                self.prompts.append((candidate, prompts))
        assert len(self.prompts) == n_features, f"{len(self.prompts)} features fire in {settings.n_prompts} contexts; read more --rows"

    @property
    def features(self) -> np.ndarray:
        return np.array([feature for feature, _ in self.prompts], dtype=np.uint32)

    def activations(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and values of one feature, ascending by position."""
        part = slice(*np.searchsorted(self._feature, [feature, feature + 1]))
        return self._position[part], self._value[part]

    def shown(self, feature: int) -> tuple[Example, ...]:
        """Up to N_SHOWN windows on which a feature fires, strongest first."""
        position, value = self.activations(feature)
        found: dict[int, Example] = {}
        for at in position[np.argsort(-value)].tolist():
            row, place = divmod(at, self.rows.shape[1])
            cell = row * self.rows.shape[1] + 1 + (place - 1) // WINDOW_TOKENS * WINDOW_TOKENS
            length = min(WINDOW_TOKENS, (row + 1) * self.rows.shape[1] - cell)
            if cell in found or len(found) == N_SHOWN:
                continue
            here = np.zeros(length)
            inside = (position >= cell) & (position < cell + length)
            here[position[inside] - cell] = value[inside]
            ids = tuple(self.rows.ravel()[cell : cell + length].tolist())
            found[cell] = Example(f"{feature}/{cell}", feature, "shown", "activating", "top", 0, row, cell, ids, tuple(here.tolist()))
        return tuple(found.values())


@dataclass(frozen=True)
class Steered:
    """What one way of steering found for each feature, in order, and how long it took."""

    seconds: float
    tuned: list[tuple[Tuned, ...]]
    completions: list[list[list[list[int]]]]
    """[feature][target][prompt], token ids."""


def steered_in_batches(bench: Bench, settings: SteeringSettings) -> Steered:
    """As the asset does it."""
    started = time.perf_counter()
    steerer = Steerer(bench.subject, bench.dictionary, settings.batch_rows)
    found = list(steered_features(steerer, bench.prompts, settings, SEED, bench.texts))
    seconds = time.perf_counter() - started
    tuned = [tuple(run.tuned for run in one.runs if run.tuned) for one in found]
    return Steered(seconds, tuned, [[run.completions for run in one.runs] for one in found])


class Naively:
    """One text at a time through the whole model, a feature added from the last token of its prompt on."""

    def __init__(self, bench: Bench) -> None:
        self._subject, self._module = bench.subject, bench.subject.model.get_submodule(bench.subject.resolve_hook(bench.record.hook).module)
        self._row_of = bench.dictionary.decoder_row

    def logits(self, token_ids: np.ndarray, feature: int, strength: float, first: int) -> torch.Tensor:
        """Tensor[vocabulary] after a text, steered from place `first` on."""
        ids = torch.from_numpy(token_ids.astype(np.int64))[None].to(self._subject.device)
        with torch.inference_mode(), self._steered(feature, strength, first):
            return self._subject.model(input_ids=ids, use_cache=False).logits[0, -1].float()

    def divergence(self, prompt: np.ndarray, feature: int, strength: float) -> float:
        """KL(clean ‖ steered) of the token after a prompt, nats."""
        clean, steered = (self.logits(prompt, feature, s, len(prompt) - 1).log_softmax(-1) for s in (0.0, strength))
        return max(float((clean.exp() * (clean - steered)).sum(dtype=torch.float64)), 0.0)

    def completion(self, prompt: np.ndarray, feature: int, strength: float, uniforms: np.ndarray, temperature: float) -> list[int]:
        """Token ids sampled after a prompt, as `Steerer.completions` draws them."""
        text = prompt
        for draw in uniforms.tolist():
            logits = self.logits(text, feature, strength, len(prompt) - 1)
            mass = (logits / temperature).softmax(-1, dtype=torch.float64).cumsum(-1)
            token = min(int(torch.searchsorted(mass, draw * mass[-1], right=True)), len(mass) - 1)
            if token == self._subject.eos_token_id:
                break
            text = np.append(text, token)
        return text[len(prompt) :].tolist()

    @contextmanager
    def _steered(self, feature: int, strength: float, first: int) -> Iterator[None]:
        if not strength:
            yield
            return
        added = strength * self._row_of(feature).float()

        def add(_module: Any, _inputs: Any, output: Any) -> Any:
            value = output[0] if isinstance(output, tuple) else output
            value = torch.cat([value[:, :first], (value[:, first:].float() + added).to(value.dtype)], dim=1)
            return (value, *output[1:]) if isinstance(output, tuple) else value

        handle = self._module.register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()


def steered_naively(bench: Bench, settings: SteeringSettings, n_features: int) -> Steered:
    """The same search and samples for the first features, one forward pass after the other."""
    started = time.perf_counter()
    naive, tuned, completions = Naively(bench), [], []
    for feature, prompts in bench.prompts[:n_features]:

        def measure(places: np.ndarray, strengths: np.ndarray, feature: int = feature, prompts: SteeringPrompts = prompts) -> np.ndarray:
            means = [np.mean([naive.divergence(ids, feature, strength) for ids in prompts.token_ids]) for strength in strengths.tolist()]
            return np.array(means)

        (ends,) = tune(1, settings, measure)
        draws = generator(SEED, feature, "steering completions").random((settings.n_prompts, settings.max_new_tokens))
        texts = []
        for strength in (0.0, *(end.strength for end in ends)):
            pairs = zip(prompts.token_ids, draws, strict=True)
            texts.append([naive.completion(ids, feature, strength, own, settings.temperature) for ids, own in pairs])
        tuned.append(ends)
        completions.append(texts[1:])  # the clean ones are made by both and compared by neither
        say(f"feature {len(tuned)} of {n_features} steered naively, {time.perf_counter() - started:.0f} s")
    return Steered(time.perf_counter() - started, tuned, completions)


def agreement(ours: Steered, naive: Steered) -> dict[str, float]:
    """How far the two are apart on the features of `naive`. Fails unless strengths and divergences agree, and most of the texts."""
    n = len(naive.tuned)
    pairs = [pair for own, other in zip(ours.tuned[:n], naive.tuned, strict=True) for pair in zip(own, other, strict=True)]
    strength = max(abs(own.strength / other.strength - 1) for own, other in pairs)
    kl = max(abs(own.realised_kl - other.realised_kl) for own, other in pairs)
    texts = [
        own == other
        for ours_of, naive_of in zip(ours.completions[:n], naive.completions, strict=True)
        for ours_at, naive_at in zip(ours_of, naive_of, strict=True)
        for own, other in zip(ours_at, naive_at, strict=True)
    ]
    assert strength < 1e-3, f"strengths differ by {strength:.2g}"
    assert kl < 1e-3, f"divergences differ by {kl:.2g} nats"
    assert np.mean(texts) >= 0.7, f"only {np.mean(texts):.0%} of the texts are the same"
    return {"strength_relative_difference": strength, "kl_difference": kl, "equal_texts": float(np.mean(texts))}


def costs(bench: Bench, windows: TokenChangeSettings) -> dict[str, dict[str, float]]:
    """Seconds a feature of each method: of what it is made from, and of the explanation."""
    features, n_tokens = bench.features, len(bench.features)
    harvest = bench.harvest_seconds_a_token * PAPER_TOKENS / bench.record.width
    projecting, (projected,) = timed(
        lambda: list(projected_blocks(bench.subject, bench.dictionary, features, bench.texts, ProjectionSettings()))
    )
    rows = clamped_windows(bench.rows, 1, windows, generator(SEED, 0, "token change windows"))
    preparing, clamper = timed(lambda: Clamper(bench.subject, bench.dictionary, rows, 1, batch_rows=windows.batch_rows))
    strengths = np.array([float(bench.activations(feature)[1].max()) for feature in features.tolist()])
    written = np.ones(n_tokens, dtype=bool)
    clamping, changed = timed(lambda: changed_block(clamper, features, strengths, written, bench.texts, windows.n_tokens))
    tokens = changed.tokens.to_numpy(zero_copy_only=False).reshape(changed.token_ids.shape)
    promoted = projected.tokens.to_numpy(zero_copy_only=False).reshape(projected.token_ids.shape)
    explainer_inputs = []
    for place, feature in enumerate(features.tolist()):
        shown = bench.shown(feature)
        ids = sorted({i for example in shown for i in example.token_ids})
        own = [[tuple(zip(side, [0.0] * len(side), strict=True)) for side in sign] for sign in tokens[place].tolist()]
        clamped = tuple(TokenChanges(s, *sides) for s, sides in zip((strengths[place], -strengths[place]), own, strict=True))
        more, less = (tuple((token, 0.0) for token in side) for side in promoted[place].tolist())
        explainer_input = ExplainerInput(
            feature, shown, dict(zip(ids, bench.tokenizer.tokens(ids), strict=True)), promoted=more, suppressed=less
        )
        explainer_inputs.append(ExplainerInput(**{**vars(explainer_input), "clamped": clamped}))
    bench.subject.close()
    model = LanguageModelSettings()
    explainer = bench.models.language_model(model.backend, model.model, model.revision, model.options)
    explaining = {one.NAME: explained(explainer, one, explainer_inputs) / n_tokens for one in (max_act, vocab_proj, token_change)}
    made_from = {
        "max_act": harvest,
        "vocab_proj": projecting / n_tokens,
        "token_change": clamping / n_tokens + preparing / bench.record.width,
    }
    return {name: {"evidence": made_from[name], "explanation": explaining[name]} for name in made_from}


def explained(model: Any, explainer: Explainer, explainer_inputs: Sequence[ExplainerInput]) -> float:
    """Seconds of the explainer's questions about all features, asked together."""
    settings = ExplainingSettings().of(explainer)
    prompts = [
        prompt
        for explainer_input in explainer_inputs
        for prompt in explainer.plan(explainer_input, settings, SEED)
        if not isinstance(prompt, str)
    ]
    assert len(prompts) == len(explainer_inputs), explainer.NAME
    seconds, replies = timed(lambda: list(model.ask([request_of(prompt) for prompt in prompts])))
    assert all(reply.error is None for _, reply in replies), [reply.error for _, reply in replies]
    return seconds


def say(line: str) -> None:
    """Progress, beside the output proper."""
    print(line, file=sys.stderr, flush=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, what `work` returns)."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def main() -> None:
    """Run both parts and print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=10)
    parser.add_argument("--naive-features", type=int, default=2, help="how many of them are steered naively too")
    parser.add_argument("--rows", type=int, default=256, help="rows of 256 tokens that are harvested for the prompts")
    parser.add_argument("--quick", action="store_true", help="2 features, 4 prompts, 2 targets, 48 rows: under two minutes on two cores")
    given = parser.parse_args()
    n_features, n_prompts, n_rows = (2, 4, 48) if given.quick else (given.features, given.prompts, given.rows)
    n_naive = 1 if given.quick else min(given.naive_features, n_features)
    settings = SteeringSettings(
        kl_targets=(0.1, 1.0) if given.quick else SteeringSettings.kl_targets, zero_ablation=False, n_explainer_prompts=0,
        n_scoring_prompts=n_prompts, max_new_tokens=3 if given.quick else SteeringSettings.max_new_tokens,
    )  # fmt: skip
    say(f"harvesting {n_rows} rows for the prompts of {n_features} features")
    bench = Bench(n_rows, n_features, settings)
    ours = steered_in_batches(bench, settings)
    say(f"{n_features} features steered in batches, {ours.seconds:.0f} s")
    naive = steered_naively(bench, settings, n_naive)
    apart = agreement(ours, naive)
    minutes = {"in_batches": 60 * n_features / ours.seconds, "naively": 60 * n_naive / naive.seconds}
    ratio = minutes["in_batches"] / minutes["naively"]
    for name, rate in minutes.items():
        print(f"steered {name:11} {rate:8.2f} features a minute ({n_prompts} prompts, targets {list(settings.kl_targets)} nats)")
    print(f"ratio {ratio:.1f}; strengths within {apart['strength_relative_difference']:.1e}, ", end="")
    print(f"divergences within {apart['kl_difference']:.1e} nats, {apart['equal_texts']:.0%} of the texts the same\n")
    say("costs of a feature by method")
    seconds = costs(bench, TokenChangeSettings())
    whole = sum(seconds["max_act"].values())
    print(f"{'method':14} {'evidence':>10} {'explanation':>12} {'together':>10}   seconds a feature; max_act is 1")
    for name, parts in seconds.items():
        print(f"{name:14} {parts['evidence']:10.3f} {parts['explanation']:12.3f} {sum(parts.values()) / whole:10.2f}")
    rounded = {name: {part: round(value, 4) for part, value in parts.items()} for name, parts in seconds.items()}
    figures = {
        "features": n_features, "naive_features": n_naive, "prompts": n_prompts, "kl_targets": list(settings.kl_targets),
        "features_a_minute": {name: round(rate, 3) for name, rate in minutes.items()}, "ratio": round(ratio, 2),
        **apart, "seconds_a_feature": rounded,
        "of_max_act": {name: round(sum(parts.values()) / whole, 3) for name, parts in seconds.items()},
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
