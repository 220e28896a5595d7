"""Every scorer on known truth: with a judge that reads explanations rightly, the true one outranks the false ones on every puzzle."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from domain_toys import split_texts
from puzzles import PUZZLES, Puzzle

from interp_assets.domain.planted.claims import Claim, tokens_of
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.scoring import (
    SCORERS,
    Scorer,
    ScoringSettings,
    clarity,
    description_likelihood,
    detection,
    discrimination,
    fuzzing,
    input_based,
    purity,
    reads_steering,
    responsiveness,
    simulation,
    surprisal,
)
from interp_assets.domain.trials import AnsweredTrial, Rival, ScorerInput, Trial

SETTINGS = ScoringSettings()
METRICS = {"input_based": "auroc"}  # success is yes or no, and a claim that is half right may succeed
JUDGED = (detection, fuzzing, simulation, surprisal, description_likelihood, discrimination, input_based, clarity, responsiveness, purity)


def test_there_are_enough_of_all_kinds() -> None:
    assert len(PUZZLES) >= 20 and len({puzzle.name for puzzle in PUZZLES}) == len(PUZZLES)
    asked_for = {"token set", "n-gram", "position", "topic", "syntax", "casing", "numbers", "code", "negation", "polysemous"}
    assert asked_for <= {puzzle.kind for puzzle in PUZZLES}


@pytest.mark.parametrize("puzzle", PUZZLES, ids=lambda puzzle: puzzle.name)
def test_the_feature_fires_on_some_texts_and_its_false_claims_are_false(puzzle: Puzzle) -> None:
    fires = [any(puzzle.true.fires_on(text)) for text in puzzle.texts]
    assert 4 <= sum(fires) <= len(fires) - 4
    assert all("".join(tokens_of(text)) == text for text in puzzle.texts)
    for claim in puzzle.false:
        where = [claim.fires_on(text) for text in puzzle.texts]
        assert where != [puzzle.true.fires_on(text) for text in puzzle.texts]
        assert any(any(tokens) for tokens in where), f"{claim.text}: a claim that is true of no text at all is no rival"


def case_of(puzzle: Puzzle, claim: Claim) -> ScorerInput:
    token_texts: dict[int, str] = {}
    examples = puzzle.examples(7, token_texts)
    rivals = tuple(Rival(n, other.text, "neighbour") for n, other in enumerate((puzzle.true, *puzzle.false)) if other != claim)
    return ScorerInput(7, "human", claim.text, examples[:1], examples, token_texts, firing_share=0.05, rivals=rivals)


def marked(text: str) -> tuple[str, set[int]]:
    """The text without marks, and the places of its marked characters."""
    plain, places = "", set[int]()
    for number, part in enumerate(re.split(r"<<|>>", text)):
        places |= set(range(len(plain), len(plain) + len(part))) if number % 2 else set()
        plain += part
    return plain, places


def agreement(claim: Claim, text: str) -> int:
    """Characters of a marked text that are both marked and claimed."""
    plain, places = marked(text)
    return len(places & {place for match in re.finditer(claim.pattern, plain) for place in range(*match.span())})


class Reader:
    """Answers every question as one would who knows what each claim of a puzzle means."""

    def __init__(self, puzzle: Puzzle, scorer_input: ScorerInput) -> None:
        self.puzzle, self.scorer_input = puzzle, scorer_input
        self.claims = {claim.text: claim for claim in (puzzle.true, *puzzle.false)}
        self.claim = self.claims[scorer_input.explanation or ""]

    def fires(self, text: str) -> bool:
        """Whether the explanation that is judged fits the text."""
        return any(self.claim.fires_on(text))

    def answer(self, trial: Trial) -> AnsweredTrial:
        """The answer to a trial of any scorer."""
        return getattr(self, trial.scorer)(trial, trial.prompt)

    def detection(self, trial: Trial, prompt: Prompt) -> AnsweredTrial:
        return AnsweredTrial(trial, str([int(self.fires(text)) for text in split_texts(prompt.messages[-1][1])]))

    def fuzzing(self, trial: Trial, prompt: Prompt) -> AnsweredTrial:
        return AnsweredTrial(trial, str([int(agreement(self.claim, text) > 0) for text in split_texts(prompt.messages[-1][1])]))

    def responsiveness(self, trial: Trial, prompt: Prompt) -> AnsweredTrial:
        return AnsweredTrial(trial, str([2 * self.fires(text) for text in split_texts(prompt.messages[-1][1])]))

    purity = responsiveness

    def discrimination(self, trial: Trial, prompt: Prompt) -> AnsweredTrial:
        lines = prompt.messages[-1][1].splitlines()
        texts = [line.removeprefix("Text: ") for line in lines if line.startswith("Text: ")]
        described = [self.claims[line.partition(": ")[2]] for line in lines if line.startswith("Description ")]
        # Of two that fit, the one that speaks of less beside the marks.
        fits = [sum(2 * agreement(claim, text) - agreement(claim, f"<<{marked(text)[0]}>>") for text in texts) for claim in described]
        return AnsweredTrial(trial, f"[{fits.index(max(fits)) + 1}]")

    def simulation(self, trial: Trial, prompt: Prompt) -> AnsweredTrial:
        example = next(e for e in self.scorer_input.held_out if e.example_id == trial.items[0].example_id)
        text = "".join(self.scorer_input.token_texts[token] for token in example.token_ids)
        top = len(prompt.suffix_choices.options) - 1 if prompt.suffix_choices else 0
        shares = tuple(tuple(float(level == top * on) for level in range(top + 1)) for on in self.claim.fires_on(text))
        return AnsweredTrial(trial, suffix_choices=shares)

    def surprisal(self, trial: Trial, prompt: Prompt) -> AnsweredTrial:
        likelihood = -2.0 if not trial.items else -1.0 if self.fires(prompt.suffix) else -3.0
        return AnsweredTrial(trial, suffix_logprobs=(likelihood,))

    def description_likelihood(self, trial: Trial, prompt: Prompt) -> AnsweredTrial:
        text = prompt.messages[-1][1].removeprefix("Text: ").removesuffix(f"\n\n{description_likelihood.QUESTION}")
        return AnsweredTrial(trial, suffix_logprobs=(-1.0 if self.fires(text) else -3.0,))

    def input_based(self, trial: Trial, prompt: Prompt) -> AnsweredTrial:
        names = list(json.loads(prompt.json_schema or "")["properties"])
        # texts that the claim speaks of, or texts that it does not
        chosen = dict(zip(names, self._written(len(names), fires=not names[0].startswith("silent")), strict=True))
        reply = AnsweredTrial(trial, json.dumps(chosen))
        scorer = {"input_based": input_based, "clarity": clarity}[trial.scorer]
        return replace(reply, activations=tuple(float(any(self.puzzle.true.fires_on(text))) for text in scorer.texts(reply)))

    clarity = input_based

    def _written(self, n: int, fires: bool) -> list[str]:
        texts = [text for text in self.puzzle.texts if self.fires(text) == fires] or ["a text of nothing"]
        return [texts[round(i * (len(texts) - 1) / max(n - 1, 1))] for i in range(n)]


def score(
    scorer: Scorer, puzzle: Puzzle, claim: Claim, change: Callable[[AnsweredTrial], AnsweredTrial] = lambda answered: answered
) -> float:
    """The scorer's value for a claim about a puzzle."""
    scorer_input, settings = case_of(puzzle, claim), SETTINGS.of(scorer)
    reader = Reader(puzzle, scorer_input)
    answered = [change(reader.answer(trial)) for trial in scorer.plan(scorer_input, settings, 0)]
    assert answered, "nothing was asked"
    verdicts = scorer.grade(scorer_input, answered, settings)
    metric = METRICS.get(scorer.NAME, scorer.HEADLINE)
    (row,) = (row for row in scorer.summarise(scorer_input, verdicts, settings, 20, 0) if row.metric == metric)
    return float("-inf") if row.value is None else row.value


def cannot_tell(scorer: Scorer, puzzle: Puzzle, claim: Claim) -> bool:
    """Whether a false claim is of the kind that the scorer's very question may not tell from the truth.

    Fuzzing asks about marked tokens alone: a claim that is true of all of them may be as broad as it likes; discrimination too, where the
    windows hold nothing else that it speaks of. Texts written after a claim show nothing of what it leaves out: a claim that speaks only
    of texts on which the feature fires may be as narrow as it likes.
    """
    fires = [text for text in puzzle.texts if any(puzzle.true.fires_on(text))]
    if scorer is fuzzing:
        return all(any(a and b for a, b in zip(claim.fires_on(text), puzzle.true.fires_on(text), strict=True)) for text in fires)
    if scorer is discrimination:
        return all(claim.fires_on(text) == puzzle.true.fires_on(text) for text in fires)
    return scorer in (input_based, clarity) and {text for text in puzzle.texts if any(claim.fires_on(text))} <= set(fires)


@pytest.mark.parametrize("scorer", JUDGED, ids=lambda scorer: scorer.NAME)
@pytest.mark.parametrize("puzzle", PUZZLES, ids=lambda puzzle: puzzle.name)
def test_the_true_explanation_outranks_the_false_ones(scorer: Scorer, puzzle: Puzzle) -> None:
    true = score(scorer, puzzle, puzzle.true)
    for claim in puzzle.false:
        false = score(scorer, puzzle, claim)
        assert true >= false if cannot_tell(scorer, puzzle, claim) else true > false, claim.text
    if scorer in (detection, fuzzing, surprisal, description_likelihood, responsiveness, purity):
        assert true == 1.0


def test_every_scorer_that_reads_explanations_of_inputs_by_a_language_model_is_tried() -> None:
    of_inputs = [scorer for scorer in SCORERS if not reads_steering(scorer)]
    assert {s.NAME for s in JUDGED} == {s.NAME for s in of_inputs if "explanation" in s.READS and s.MODEL not in ("encoder", "machine")}


def test_hardly_any_claim_is_excused() -> None:
    excused = {s.NAME: sum(cannot_tell(s, puzzle, claim) for puzzle in PUZZLES for claim in puzzle.false) for s in JUDGED}
    n_claims = sum(len(puzzle.false) for puzzle in PUZZLES)
    assert all(count <= n_claims / 5 for count in excused.values()), excused
    assert {name for name, count in excused.items() if count} == {"fuzzing", "discrimination", "input_based", "clarity"}
