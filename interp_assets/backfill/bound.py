"""Upper bounds on the tokens of one feature's questions: counted on the prompts of a method's own code about a made-up feature.

The made-up feature has every input. It has as many windows as the record asks for, fires on every second token of each window (so that a
prompt has as many marks as possible) and has explanations of the greatest length of their replies. Its windows are the longest windows in a
spread of the dictionary's own token sample; without a sample they are text that tokenizers cut into small tokens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

from interp_assets.asking.questions import request_of
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import LanguageModelSettings, StageSettings
from interp_assets.domain.examples.sampling import Example, Kind, Role
from interp_assets.domain.explaining import DERIVED, EXPLAINERS
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, SteeredPrompt, TokenChanges
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.scoring import SAMPLED, SCORERS, Scorer
from interp_assets.domain.steering.steered_texts import CompletionSet, SteeredRun, SteeredText
from interp_assets.domain.trials import NO_EXPLANATION, Rival, ScorerInput
from interp_assets.reading.token_sample import read_token_sample
from resources.language_models.openai_server.usage import MESSAGE_TOKENS, TokenCounter, bytes_estimate
from resources.language_models.openai_server.wire import most_reply_tokens
from resources.store.lake import Lake, LakeError

TEMPLATE_TOKENS = 64
"""Tokens that a chat template puts before all messages, such as a default system prompt."""

SAMPLED_WINDOWS, LONGEST_WINDOWS = 2_000, 8
EXPLANATION_TOKENS = 256
"""Tokens of an explanation that no explainer of ours wrote."""

LISTED = 200
"""Tokens in each list of a made-up feature; explainers take the first tokens of a list."""

CUT_SMALL = (" zażółć", "Qx7_", " 0x3F;", " naïveté", "\n\t})", " 1,984.50", "Ünïq", " [[-=>")
"""Token texts that most tokenizers cut into two to four."""


@dataclass(frozen=True)
class Bound:
    """Upper bounds for one feature: number of questions, prompt tokens, and reply tokens. `windows` says where the windows' texts are
    from. `spared` are further questions that `prediction_powered` leaves out."""

    questions: int
    prompt_tokens: int
    completion_tokens: int
    windows: str
    spared: int = 0

    def times(self, n: int) -> "Bound":
        """The bound of questions that are asked n times."""
        return Bound(n * self.questions, n * self.prompt_tokens, n * self.completion_tokens, self.windows, n * self.spared)


class Bounds:
    """Bounds for one dictionary. `count_of` gives the token counter of a model, or None where the model's tokenizer is not known here."""

    def __init__(
        self,
        lake: Lake,
        record: DictionaryRecord,
        stages: StageSettings,
        texts_of: Callable[[Sequence[int]], Sequence[str]] | None,
        count_of: Callable[[LanguageModelSettings], TokenCounter | None],
    ) -> None:
        self._lake, self._record, self._stages, self._texts_of, self._count_of = lake, record, stages, texts_of, count_of
        self._counters: dict[str, tuple[TokenCounter, str]] = {}

    def of(self, asset: str, method: str, model: LanguageModelSettings, whole: bool = False) -> Bound | None:
        """The bound for an asset that asks `model` about explanations by `method`; None where no prompt can be made up for the method.

        With `whole` every question counts, whatever share of them `prediction_powered` asks.
        """
        try:
            every = list(self._prompts(asset, method))
        except Exception:  # a method that needs what a made-up feature lacks: its rate is told instead
            return None
        prompts = every if whole else every[: self._n_asked(asset, len(every))]
        count, counted = self._counter(model)
        asked = [request_of(prompt) for prompt in prompts]
        prompt_tokens = sum(
            sum(count(message.content) + MESSAGE_TOKENS for message in one.messages) + count(one.suffix + one.line_prefix) + TEMPLATE_TOKENS
            for one in asked
        )
        whose = "its own windows" if self._sampled else "made-up windows"
        thinking_tokens = int(model.options.get("thinking_tokens", 0))
        reply_tokens = sum(most_reply_tokens(one, thinking_tokens) for one in asked)
        deals = self._stages.explaining.deals(method) if asset.startswith("scores/") else 1
        return Bound(len(asked), prompt_tokens, reply_tokens, f"{whose}, counted by {counted}", len(every) - len(asked)).times(deals)

    def _n_asked(self, asset: str, n: int) -> int:
        """How many of the n questions about a feature are asked, on average over features and rounded up."""
        powered = self._stages.scoring.prediction_powered
        sampled = powered is not None and asset in {f"scores/{scorer.NAME}" for scorer in SAMPLED}
        return min(max(ceil(powered.share * n), 1), n) if powered is not None and sampled else n

    def _counter(self, model: LanguageModelSettings) -> tuple[TokenCounter, str]:
        """A model's token counter, and its name: the model's tokenizer where it is on this machine, else a count of bytes."""
        if model.model not in self._counters:
            try:
                count = self._count_of(model)
            except (ValueError, OSError, ImportError):
                count = None
            self._counters[model.model] = (bytes_estimate, "bytes") if count is None else (count, "its tokenizer")
        return self._counters[model.model]

    def _prompts(self, asset: str, method: str) -> Iterator[Prompt]:
        """The prompts about the made-up feature."""
        stage, _, name = asset.partition("/")
        if stage == "explanations":
            (explainer,) = (one for one in EXPLAINERS if name == one.NAME)
            planned = explainer.plan(self._material(), self._stages.explaining.of(explainer), self._stages.seed)
            if isinstance(planned, str):
                raise ValueError(planned)
            yield from planned
            return
        (scorer,) = (one for one in SCORERS if name == one.NAME)
        trials = scorer.plan(self._case(scorer, method), self._stages.scoring.of(scorer), self._stages.seed)
        if not trials:
            raise ValueError("no trials")
        for trial in trials:
            if isinstance(trial.question, Prompt):
                yield trial.question

    @cached_property
    def _sampled(self) -> list[tuple[str, ...]]:
        """The longest windows, in bytes, of a spread of the dictionary's sample; empty while there is no sample."""
        if self._texts_of is None or self._record.imported:
            return []
        try:
            tokens = read_token_sample(self._lake, self._record.key).tokens
        except LakeError:
            return []
        width = min(self._stages.examples.window_tokens, tokens.shape[1])
        windows = tokens[:, : tokens.shape[1] // width * width].reshape(-1, width)
        windows = windows[:: max(1, len(windows) // SAMPLED_WINDOWS)]
        texts = self._texts_of(windows.ravel().tolist())
        cut = [tuple(texts[start : start + width]) for start in range(0, len(texts), width)]
        return sorted(cut, key=lambda window: len("".join(window).encode("utf-8", "replace")), reverse=True)[:LONGEST_WINDOWS]

    @cached_property
    def _windows(self) -> tuple[list[tuple[int, ...]], dict[int, str]]:
        """Windows of token ids, and the text of each id."""
        width = self._stages.examples.window_tokens
        windows = self._sampled or [tuple(CUT_SMALL[(first + place) % len(CUT_SMALL)] for place in range(width)) for first in range(4)]
        ids = {text: number for number, text in enumerate(dict.fromkeys(text for window in windows for text in window))}
        return [tuple(ids[text] for text in window) for window in windows], {number: text for text, number in ids.items()}

    def _examples(self, role: Role, kind: Kind, n: int, first: int) -> tuple[Example, ...]:
        windows, _ = self._windows
        strata = self._stages.examples.n_strata
        made = []
        for number in range(n):
            ids = windows[number % len(windows)]
            values = tuple(float(place % 2 == 0) if kind == "activating" else 0.0 for place in range(len(ids)))
            stratum = number % strata if kind == "activating" else None
            sampling = "quantiles" if kind == "activating" else "random"
            made.append(Example(f"{role}-{kind}-{number}", 0, role, kind, sampling, stratum, first + number, 0, ids, values))
        return tuple(made)

    def _of_role(self, role: Role, activating: int, silent: int) -> tuple[Example, ...]:
        return self._examples(role, "activating", activating, 0) + self._examples(role, "non_activating", silent, 10**6)

    def _material(self) -> ExplainerInput:
        examples, (_, texts) = self._stages.examples, self._windows
        listed = tuple((texts[number % len(texts)], 9.75) for number in range(LISTED))
        silent = sum(examples.negative_counts_of("shown").values())
        steered = tuple(SteeredPrompt(self._completion(), listed) for _ in range(LISTED))
        return ExplainerInput(
            feature=0, shown=self._examples("shown", "activating", examples.n_shown, 0), token_texts=texts,
            contrast=self._examples("shown", "non_activating", silent, 10**6),
            validation=self._of_role("validation", examples.n_validation, examples.n_validation), promoted=listed, suppressed=listed,
            top_token=listed[0][0], top_token_share=0.5, clamped=(TokenChanges(9.75, listed, listed), TokenChanges(-9.75, listed, listed)),
            steered=steered,
        )  # fmt: skip

    def _case(self, scorer: Scorer, method: str) -> ScorerInput:
        examples, steering = self._stages.examples, self._stages.steering
        held_out = self._of_role("held_out", examples.n_held_out, examples.n_non_activating)
        shown = self._of_role("shown", examples.n_shown, sum(examples.negative_counts_of("shown").values()))
        text = None if method == NO_EXPLANATION else self._explanation(method, 0)
        prompts = tuple(
            SteeredText(n, self._completion(), self._completion(), self._completion()) for n in range(steering.n_scoring_prompts)
        )
        runs = tuple(SteeredRun(target, True, prompts) for target in (*steering.kl_targets, None)) if "steered" in scorer.READS else ()
        sets = [
            CompletionSet(n, tuple((target, self._completion() * 2) for target in steering.kl_targets for _ in steering.fixed.prompts))
            for n in range(LISTED if "steered_sets" in scorer.READS else 0)
        ]
        return ScorerInput(
            feature=0, method=method, explanation=text, shown=shown, held_out=held_out, token_texts=self._windows[1], firing_share=0.01,
            rivals=tuple(Rival(n, self._explanation(method, n), "random") for n in range(1, 5)) if "rivals" in scorer.READS else (),
            steered=runs, steered_set=sets[0] if sets else None, rival_sets=tuple(sets[1:]),
        )  # fmt: skip

    def _completion(self) -> str:
        """A text of steering: a prompt, and a completion of the greatest length."""
        windows, texts = self._windows
        n_tokens = 2 * max(
            self._stages.steering.max_new_tokens,
            self._stages.steering.fixed.max_new_tokens,
            self._stages.steering.context_tokens,
            len(windows[0]),
        )
        return "".join(texts[windows[0][place % len(windows[0])]] for place in range(n_tokens))

    def _explanation(self, method: str, number: int) -> str:
        """An explanation of the greatest length by a method."""
        return f"{number}" + " zażółć" * _explanation_words(method, self._stages)


def _explanation_words(method: str, stages: StageSettings) -> int:
    """Number of words, of several tokens each, that are at least as long as the longest explanation by a method."""
    own: Mapping[str, int] = {one.NAME: int(_max_reply_tokens(stages.explaining.of(one))) for one in EXPLAINERS}
    sources = {one.NAME: [*one.SOURCES, *one.OPTIONAL_SOURCES] for one in DERIVED}
    names = sources.get(method, [method])
    return (sum(own.get(name, EXPLANATION_TOKENS) for name in names) or EXPLANATION_TOKENS) // 2 + 1


def _max_reply_tokens(settings: Any) -> int:
    return getattr(settings, "max_reply_tokens", EXPLANATION_TOKENS)
