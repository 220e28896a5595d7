"""A judge that reads nothing scores at the printed floor, by every scorer.

Features fire at random places of real documents, so no text means more than another. The judge learns from half of the features which
signs go with right answers (lengths, ends, lines, ellipses, marks and their places, places in the prompt), and answers about the other half
by these signs. Where a window's shape, place or marks were an answer, it would score above the floor.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from domain_toys import split_texts
from real_text import SETTINGS, Signs, real_text, scorer_input, signs

from interp_assets.domain.examples.firing_shares import at_a_start, by_chance
from interp_assets.domain.machine_readable import matched_in_windows, readable
from interp_assets.domain.prompting.window_texts import window_text
from interp_assets.domain.scoring import (
    SCORERS,
    Scorer,
    ScoringSettings,
    clarity,
    description_likelihood,
    detection,
    discrimination,
    embedding,
    example_embedding,
    faithfulness,
    fuzzing,
    input_based,
    intervention,
    intruder,
    matcher,
    output_based,
    purity,
    responsiveness,
    sensitivity,
    simulation,
    surprisal,
)
from interp_assets.domain.scoring.fuzzing import FuzzingSettings
from interp_assets.domain.scoring.shared.generated import written
from interp_assets.domain.statistics.metrics import pearson
from interp_assets.domain.statistics.token_metrics import place_floor
from interp_assets.domain.steering.steered_texts import CompletionSet, SteeredRun, SteeredText
from interp_assets.domain.trials import AnsweredTrial, Rival, ScorerInput, Trial

N_FEATURES = 24
LEARNED = N_FEATURES // 2
SCORING = ScoringSettings()
Answer = Callable[[Trial, ScorerInput], AnsweredTrial]


@cache
def inputs(kind: str = "random", builder: str = "centred") -> tuple[ScorerInput, ...]:
    asked = replace(SETTINGS, non_activating=kind, builder=builder)
    return tuple(with_the_rest(scorer_input(seed, asked)) for seed in range(N_FEATURES))


def with_the_rest(made: ScorerInput) -> ScorerInput:
    """The scorer input with rivals, and with steered texts, clean or steered, that are windows drawn at random."""
    rng = np.random.default_rng([made.feature, 2])
    pool = [window_text(e, made.token_texts) for e in made.held_out if e.kind == "non_activating"]
    drawn = lambda: pool[int(rng.integers(len(pool)))]  # noqa: E731
    runs = tuple(
        SteeredRun(target, True, tuple(SteeredText(n, "a beginning", drawn(), drawn()) for n in range(20))) for target in (0.33, 1.0)
    )
    own, *others = (CompletionSet(feature, tuple((kl, drawn()) for kl in (0.5, 0.5, -0.5))) for feature in (made.feature, 901, 902, 903))
    rivals = tuple(Rival(900 + n, f"words about {word}", "random") for n, word in enumerate(("rivers", "trade", "the law", "numbers")))
    return replace(made, rivals=rivals, steered=runs, steered_set=own, rival_sets=tuple(others), firing_share=0.1)


def questions(trial: Trial) -> list[list[float]]:
    """The signs of each item of a prompt, and its place there."""
    texts = split_texts("\n" + trial.prompt.messages[-1][1])
    assert len(texts) == len(trial.items), trial.prompt.messages[-1][1]
    return [[*signs(text), place, len(texts)] for place, text in enumerate(texts)]


def learned(trials: Sequence[Trial]) -> Signs:
    return Signs([row for trial in trials for row in questions(trial)], [item.truth for trial in trials for item in trial.items])


def score_of(scorer: Scorer, settings: object, answer: Answer, cases: Sequence[ScorerInput], metric: str | None = None):
    """(mean difference of the scores from their floors, its standard error) over the cases."""
    found = []
    for case in cases:
        verdicts = scorer.grade(case, [answer(trial, case) for trial in scorer.plan(case, settings, 0)], settings)
        row = next(row for row in scorer.summarise(case, verdicts, settings, 50, 0) if row.metric == (metric or scorer.HEADLINE))
        assert row.value is not None and row.floor is not None, row
        found.append(row.value - row.floor)
    return float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(len(found)))


def assert_at_the_floor(scorer: Scorer, answer: Answer, settings: object = None, cases: Sequence[ScorerInput] | None = None) -> None:
    mean, error = score_of(scorer, settings or SCORING.of(scorer), answer, inputs()[LEARNED:] if cases is None else cases)
    assert mean < 3 * error + 0.01, f"{scorer.NAME} {mean:.3f} above the floor, standard error {error:.3f}"


@pytest.mark.parametrize("kind", ["random", "neighbour", "similar", "token"])
@pytest.mark.parametrize("builder", ["centred", "cells"])
@pytest.mark.parametrize("scorer", [detection, fuzzing], ids=lambda scorer: scorer.NAME)
def test_yes_or_no(scorer: Scorer, kind: str, builder: str) -> None:
    cases, settings = inputs(kind, builder), SCORING.of(scorer)
    judge = learned([trial for case in cases[:LEARNED] for trial in scorer.plan(case, settings, 0)])

    def answer(trial: Trial, case: ScorerInput) -> AnsweredTrial:
        sure = judge(questions(trial))
        return AnsweredTrial(trial, str([int(p > judge.middle) for p in sure]))

    assert_at_the_floor(scorer, answer, settings, cases[LEARNED:])


def test_yes_or_no_about_features_that_fire_nearly_everywhere() -> None:
    """On one token of four: whole cells are hardly ever silent, ends of documents are."""
    asked = replace(SETTINGS, builder="cells", n_non_activating=5)
    cases = [case for seed in range(N_FEATURES) if len((case := scorer_input(seed, asked, n_peaks=8000)).held_out) > asked.n_held_out]
    assert len(cases) > LEARNED
    judge = learned([trial for case in cases[: len(cases) // 2] for trial in detection.plan(case, SCORING.detection, 0)])
    answer = lambda trial, case: AnsweredTrial(trial, str([int(p > judge.middle) for p in judge(questions(trial))]))  # noqa: E731
    assert_at_the_floor(detection, answer, cases=cases[len(cases) // 2 :])


def test_fuzzing_on_silent_tokens_of_the_same_windows() -> None:
    settings = FuzzingSettings(negatives="active")
    judge = learned([trial for case in inputs()[:LEARNED] for trial in fuzzing.plan(case, settings, 0)])
    answer = lambda trial, case: AnsweredTrial(trial, str([int(p > judge.middle) for p in judge(questions(trial))]))  # noqa: E731
    assert_at_the_floor(fuzzing, answer, settings)


@pytest.mark.parametrize("scorer", [responsiveness, purity], ids=lambda scorer: scorer.NAME)
def test_ratings_of_windows(scorer: Scorer) -> None:
    judge = learned([trial for case in inputs()[:LEARNED] for trial in scorer.plan(case, SCORING.of(scorer), 0)])
    assert_at_the_floor(scorer, lambda trial, case: AnsweredTrial(trial, str([2 * int(p > judge.middle) for p in judge(questions(trial))])))


def test_ratings_of_steered_texts() -> None:
    judge = learned([trial for case in inputs()[:LEARNED] for trial in faithfulness.plan(case, SCORING.faithfulness, 0)])
    answer = lambda trial, case: AnsweredTrial(trial, str([2 * int(p > judge.middle) for p in judge(questions(trial))]))  # noqa: E731
    assert_at_the_floor(faithfulness, answer)


def test_the_intruder() -> None:
    judge = learned([trial for case in inputs()[:LEARNED] for trial in intruder.plan(case, SCORING.intruder, 0)])
    assert_at_the_floor(intruder, lambda trial, case: AnsweredTrial(trial, f"[{int(np.argmax(judge(questions(trial)))) + 1}]"))


@pytest.mark.parametrize("scorer", [surprisal, description_likelihood, embedding, example_embedding], ids=lambda scorer: scorer.NAME)
def test_numbers_for_windows(scorer: Scorer) -> None:
    """The number that a window gets, and for exemplars the likeness of two windows, is a function of signs."""

    def windows(cases: Sequence[ScorerInput]) -> tuple[list[list[float]], list[bool]]:
        own = [example for case in cases for example in case.held_out]
        return [signs(window_text(e, real_text().token_texts)) for e in own], [e.kind == "activating" for e in own]

    judge = Signs(*windows(inputs()[:LEARNED]))

    def answer(trial: Trial, case: ScorerInput) -> AnsweredTrial:
        if scorer is description_likelihood:
            text = trial.prompt.messages[-1][1].removeprefix("Text: ").rpartition("\n\n")[0]
            return AnsweredTrial(trial, suffix_logprobs=(float(judge([signs(text)])[0]),))
        if scorer is surprisal:
            return AnsweredTrial(trial, suffix_logprobs=(float(judge([signs(trial.prompt.suffix)])[0]) if trial.items else 0.0,))
        queries, texts = (judge([signs(text) for text in side]) for side in (trial.question.queries, trial.question.texts))
        near = -np.abs(queries[:, None] - texts) if scorer is example_embedding else np.broadcast_to(texts, (len(queries), len(texts)))
        return AnsweredTrial(trial, cosines=tuple(map(tuple, near.tolist())))

    assert_at_the_floor(scorer, answer)


def profile(cases: Sequence[ScorerInput]) -> np.ndarray:
    """Mean activation, as a share of the window's largest, at each place of activating windows."""
    rows = [np.array(e.activations) / max(e.activations) for case in cases for e in case.held_out if e.kind == "activating"]
    longest = max(map(len, rows))
    padded = np.array([np.pad(row, (0, longest - len(row)), constant_values=np.nan) for row in rows])
    return np.nanmean(padded, axis=0)


def simulated(case: ScorerInput, levels: np.ndarray) -> Answer:
    lengths = {example.example_id: len(example.token_ids) for example in case.held_out}
    return lambda trial, _: AnsweredTrial(trial, str([int(level) for level in levels[: lengths[trial.items[0].example_id]]]))


def test_simulation_by_the_place_of_a_token() -> None:
    settings = replace(SCORING.simulation, mode="json")
    known = profile(inputs()[:LEARNED])
    levels = np.round(10 * known / known.max())
    assert_at_the_floor(simulation, lambda trial, case: simulated(case, levels)(trial, case), settings)
    assert np.mean([floor_of(case) for case in inputs()]) < 0.05


@pytest.mark.parametrize(("window_tokens", "builder"), [(8, "centred"), (32, "cells")])
def test_the_place_of_a_token_in_windows_of_other_shapes(window_tokens: int, builder: str) -> None:
    """No peak stands on the first token of a window: in windows of eight tokens, that is worth a correlation of 0.04."""
    asked = replace(SETTINGS, window_tokens=window_tokens, builder=builder)
    cases = [scorer_input(seed, asked, n_peaks=400) for seed in range(2 * N_FEATURES)]
    known = profile(cases[:LEARNED])
    above: list[float] = []
    for case in cases[LEARNED:]:
        levels = np.concatenate([known[: len(e.activations)] for e in case.held_out])
        above.append((pearson(levels, np.concatenate([e.activations for e in case.held_out])) or 0.0) - floor_of(case))
    assert np.mean(above) < 3 * np.std(above) / len(above) ** 0.5 + 0.005


def test_simulation_of_windows_with_peaks_at_one_place_prints_what_the_place_says() -> None:
    """The same texts in windows that all have their peak at the same place: "strong at 16" reads nothing, and the floor says how far it
    gets."""

    def centred(case: ScorerInput) -> ScorerInput:
        moved = [e for e in case.held_out if e.kind == "non_activating" or len(e.token_ids) == 32]
        turned = [replace(e, activations=tuple(np.roll(e.activations, 16 - int(np.argmax(e.activations))).tolist())) for e in moved]
        return replace(case, held_out=tuple(turned))

    cases = [centred(case) for case in inputs()[LEARNED:]]
    levels = 10 * (np.arange(32) == 16)
    mean, _ = score_of(simulation, replace(SCORING.simulation, mode="json"), lambda t, case: simulated(case, levels)(t, case), cases)
    assert np.mean([floor_of(case) for case in cases]) > 0.3 and abs(mean) < 0.1


def floor_of(case: ScorerInput) -> float:
    return place_floor([np.array(example.activations) for example in case.held_out])


def test_which_explanation_by_place_or_length() -> None:
    for place in range(5):
        assert_at_the_floor(discrimination, lambda trial, case, place=place: AnsweredTrial(trial, f"[{place + 1}]"))


def sets_of(question: str) -> list[str]:
    return question.partition("Set 1:")[2].replace("Set 2:", "Set 3:").split("Set 3:")


def test_the_set_of_steered_texts_by_signs() -> None:
    def asked(trial: Trial) -> list[list[float]]:
        return [[*signs(text), place] for place, text in enumerate(sets_of(trial.prompt.messages[-1][1]))]

    trials = [trial for case in inputs()[:LEARNED] for trial in output_based.plan(case, SCORING.output_based, 0)]
    judge = Signs([row for t in trials for row in asked(t)], [item.truth for t in trials for item in t.items])
    assert_at_the_floor(output_based, lambda trial, case: AnsweredTrial(trial, f"[{int(np.argmax(judge(asked(trial)))) + 1}]"))


def test_the_gain_of_steered_texts_by_their_length() -> None:
    answer = lambda trial, case: AnsweredTrial(trial, suffix_logprobs=(-len(trial.prompt.messages[-1][1]) / 50,))  # noqa: E731
    assert_at_the_floor(intervention, answer)


@pytest.mark.parametrize(
    ("scorer", "metric"), [(clarity, "gini"), (sensitivity, "sensitivity"), (input_based, "success"), (input_based, "auroc")]
)
@pytest.mark.parametrize(
    ("share", "starts"), [(0.1, ()), (0.4, ()), (0.1, (0.8, 0.85, 0.9))], ids=["seldom", "often", "at the beginning of contexts"]
)
def test_texts_that_are_long_and_mean_nothing(scorer: Scorer, metric: str, share: float, starts: tuple[float, ...]) -> None:
    """A generator writes passages of random windows, three times as long as a window, and short sentences where the feature should be
    silent. The feature fires by chance, of any text or of the first tokens of a text."""
    rng = np.random.default_rng(3)

    def answer(trial: Trial, case: ScorerInput) -> AnsweredTrial:
        kind, windows = trial.items[0].example_id.split("/")[0], 3 if trial.items[0].truth else 0.5
        pool = [window_text(e, case.token_texts) for e in case.held_out]
        mean = sum(map(len, pool)) / len(pool)
        texts = [f"{n} " + "x" * int(windows * mean - 2) for n in range(len(trial.items))]
        chance = at_a_start(share, starts, windows) if starts else by_chance(share, windows)
        loud = [float(rng.choice(strength(case)) if rng.random() < chance else 0.0) for _ in texts]
        return AnsweredTrial(trial, written(kind, texts), activations=tuple(loud))

    cases = [replace(case, firing_share=share, start_shares=starts) for case in inputs()]
    mean, error = score_of(scorer, SCORING.of(scorer), answer, cases * 4, metric)
    assert abs(mean) < 3 * error + 0.01


def strength(case: ScorerInput) -> list[float]:
    return [max(e.activations) for e in case.held_out if e.kind == "activating"]


def test_a_list_of_tokens_that_mean_nothing() -> None:
    """The list holds the commonest tokens of the text, so that it matches some of nearly every window."""
    common = [real_text().token_texts[i + 1] for i in np.bincount(real_text().rows.ravel())[1:].argsort()[-40:]]
    explanation = "the tokens " + ", ".join(f'"{word.strip()}"' for word in common if word.strip().isalpha())

    def answer(trial: Trial, case: ScorerInput) -> AnsweredTrial:
        found = matched_in_windows([(readable(trial.question.explanation), trial.question.windows)])
        return AnsweredTrial(trial, matches=tuple(tuple(own.tolist()) for own in next(iter(found))))

    assert_at_the_floor(matcher, answer, cases=[replace(case, explanation=explanation) for case in inputs()])


def test_every_scorer_has_its_judge() -> None:
    judged = {
        detection, fuzzing, responsiveness, purity, faithfulness, intruder, surprisal, embedding, example_embedding, simulation,
        discrimination, output_based, intervention, clarity, input_based, matcher, sensitivity, description_likelihood,
    }  # fmt: skip
    assert {scorer.NAME for scorer in SCORERS} == {scorer.NAME for scorer in judged}


def test_the_judge_sees_what_there_is_to_see() -> None:
    """Windows cut where a document begins, against windows cut anywhere: the signs tell them apart."""
    starts = {(row, start) for row, start in zip(real_text().text.passages.row, real_text().text.passages.start, strict=True)}
    own = [e for case in inputs() for e in case.held_out if len(e.token_ids) > 20]
    rows = [signs(window_text(e, real_text().token_texts)) for e in own]
    truths = np.array([(e.row, e.start) in starts for e in own])
    half = len(own) // 2
    guess = Signs(rows[:half], truths[:half])(rows[half:])
    beaten = (guess[truths[half:]][:, None] > guess[~truths[half:]]).mean()
    assert beaten > 0.6


@pytest.mark.parametrize("kind", ["random", "neighbour", "token"])
@pytest.mark.parametrize("builder", ["centred", "cells"])
def test_windows_of_both_kinds_lie_alike_in_documents(kind: str, builder: str) -> None:
    """As many begin with a document, end with one, are cut inside a word, and are short."""
    passages = real_text().text.passages
    found: dict[str, list[list[float]]] = {"activating": [], "non_activating": []}
    for case in inputs(kind, builder):
        for e in case.held_out:
            begin = e.row * passages.context_tokens + e.start
            lies = [begin in starts(), begin + len(e.token_ids) in ends(), e.begins_in_word or e.ends_in_word, len(e.token_ids) < 24]
            found[e.kind].append(list(map(float, lies)))
    activating, silent = (np.array(rows) for rows in found.values())
    error = np.sqrt(activating.var(axis=0) / len(activating) + silent.var(axis=0) / len(silent))
    assert (np.abs(activating.mean(axis=0) - silent.mean(axis=0)) < 4 * error + 0.005).all(), (activating.mean(axis=0), silent.mean(axis=0))


@cache
def starts() -> set[int]:
    return set(real_text().text.passages.begin.tolist())


@cache
def ends() -> set[int]:
    return set(real_text().text.passages.end.tolist())
