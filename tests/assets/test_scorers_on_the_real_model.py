"""Scorers that read a prompt's probabilities, through the back end, on the embedded small model and texts whose truth is known."""

from collections.abc import Iterator

import pytest
from puzzles import PUZZLES, Puzzle

from interp_assets.asking.encoder import cosines
from interp_assets.asking.questions import request_of
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.prompts import Comparison
from interp_assets.domain.scoring import Scorer, discrimination, embedding, simulation, surprisal
from interp_assets.domain.scoring.embedding import EmbeddingSettings
from interp_assets.domain.scoring.simulation import SimulationSettings
from interp_assets.domain.trials import AnsweredTrial, Rival, ScorerInput, ScoreRow, Verdict
from resources.language_models.interface import UnsupportedRequest
from resources.language_models.transformers_local.model import TransformersModel
from resources.sentence_encoder import SentenceEncoder, load_sentence_encoder
from resources.weights import load_hf_tokenizer, resolve_model_folder

MODEL = "embedded:smollm2-135m-instruct"
DAYS = (
    "the shop is closed on Monday and opens again in the spring",
    "we left on Friday night, before the snow came",
    "every Tuesday she swims in the lake",
    "the meeting on Thursday was moved to the morning",
    "on Sunday they walked along the river",
    "by Wednesday the paint had dried",
)
OTHERS = (
    "a recipe for bread with rye and honey",
    "the square root of a negative number",
    "her uncle kept all of the letters",
    "prices rose by four percent in the north",
    "the bridge was built of old stone",
    "return the first item of the list",
)

pytestmark = pytest.mark.real_model


@pytest.fixture(scope="module")
def model() -> Iterator[TransformersModel]:
    loaded = TransformersModel(MODEL)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def days() -> ScorerInput:
    """A feature that fires on names of days, truly explained."""
    tokenizer = load_hf_tokenizer(resolve_model_folder(MODEL))
    texts: dict[int, str] = {}
    examples = []
    for number, text in enumerate((*DAYS, *OTHERS)):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        texts |= {token: tokenizer.decode([token]) for token in ids}
        on = number < len(DAYS)
        activations = tuple(5.0 * texts[token].endswith("day") for token in ids)
        kind = "activating" if on else "non_activating"
        examples.append(Example(f"e{number}", 7, "held_out", kind, "random", number if on else None, number, 0, tuple(ids), activations))
    rivals = (Rival(1, "words for food", "neighbour"), Rival(2, "negative numbers", "random"))
    return ScorerInput(7, "max_act", "names of days of the week", (), tuple(examples), texts, rivals=rivals)


def scored(
    model: TransformersModel, scorer: Scorer, scorer_input: ScorerInput, settings: object
) -> tuple[tuple[Verdict, ...], dict[str, ScoreRow]]:
    """Verdicts, and rows by metric without those of strata."""
    trials = scorer.plan(scorer_input, settings, 0)
    answered = [
        AnsweredTrial(
            trials[index], reply.text, reply.answer_probabilities, reply.finish_reason, reply.error,
            suffix_logprobs=reply.suffix_logprobs, suffix_choices=reply.suffix_choices,
        )
        for index, reply in model.ask([request_of(trial.prompt) for trial in trials])
    ]  # fmt: skip
    verdicts = scorer.grade(scorer_input, answered, settings)
    return verdicts, {row.metric: row for row in scorer.summarise(scorer_input, verdicts, settings, 1000, 0) if row.stratum is None}


def test_simulated_activations_go_with_true_ones(model, days) -> None:
    verdicts, rows = scored(model, simulation, days, SimulationSettings(max_level=9))
    lengths = {example.example_id: len(example.token_ids) for example in days.held_out}
    assert {v.example_id: len(v.values or ()) for v in verdicts} == lengths
    assert all(0 <= level <= 9 for v in verdicts for level in v.values or ())
    assert rows["pearson"].value > 0.4  # 0.63 when this was written


def test_a_scale_that_the_tokenizer_cannot_tell_apart_is_refused_with_the_remedy(model, days) -> None:
    with pytest.raises(UnsupportedRequest, match=r"'10'.*such as 0-9"):
        scored(model, simulation, days, SimulationSettings())


def test_a_true_explanation_makes_its_windows_less_surprising(model, days) -> None:
    verdicts, rows = scored(model, surprisal, days, surprisal.SurprisalSettings())
    assert {v.outcome for v in verdicts} == {"answered"}
    assert rows["auroc"].value > 0.7  # 0.89 when this was written


def test_one_of_several_is_chosen_with_probabilities(model, days) -> None:
    verdicts, rows = scored(model, discrimination, days, discrimination.DiscriminationSettings())
    assert rows["accuracy"].n_positive == 2 and rows["accuracy"].floor == 1 / 3
    for trial in {v.trial_id for v in verdicts}:
        assert sum(v.probability or 0.0 for v in verdicts if v.trial_id == trial) == pytest.approx(1.0)


def test_the_sentence_encoder_ranks_explanations_by_content_and_not_by_form() -> None:
    """Puzzles about what texts speak of; those about position, casing or syntax are beyond it (13 of the 24 in all, by measurement)."""
    encoder = load_sentence_encoder("embedded:all-minilm-l6-v2")
    right = {puzzle.name for puzzle in PUZZLES if outranks(encoder, puzzle)}
    of_content = {puzzle.name for puzzle in PUZZLES if puzzle.kind in ("token", "token set", "topic", "n-gram", "polysemous", "negation")}
    assert of_content <= right
    assert len(right) >= 11


def outranks(encoder: SentenceEncoder, puzzle: Puzzle) -> bool:
    """Whether the embedding scorer puts the true claim of a puzzle above the false ones."""
    token_texts: dict[int, str] = {}
    examples = puzzle.examples(7, token_texts)
    values = []
    for claim in (puzzle.true, *puzzle.false):
        scorer_input = ScorerInput(7, "human", claim.text, (), examples, token_texts)
        (trial,) = embedding.plan(scorer_input, EmbeddingSettings(), 0)
        assert isinstance(trial.question, Comparison)
        (found,) = cosines(encoder.embed, [trial.question])
        verdicts = embedding.grade(scorer_input, [AnsweredTrial(trial, cosines=found)], EmbeddingSettings())
        values += [r.value for r in embedding.summarise(scorer_input, verdicts, EmbeddingSettings(), 2, 0) if r.metric == "auroc"]
    return values[0] > max(values[1:])
