"""A feature whose decoder row is the unembedding of a word says that word by every output-centric method: weights, clamping, steering."""

import numpy as np
import pytest
import torch

from interp_assets.assets.steering.features import SteeredFeature, steered_features
from interp_assets.assets.token_changes.changes import changed_block
from interp_assets.assets.vocabulary_projections.projections import VocabularyTexts, projected_blocks
from interp_assets.config.settings import ProjectionSettings
from interp_assets.domain.steering.strengths import SteeringPrompts, SteeringSettings
from interp_assets.domain.steering.token_changes import TokenChangeSettings, clamped_windows
from resources.dictionaries.encoding import Threshold
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder
from resources.fakes import SPECIAL, WORDS, FakeModels, FakeTokenizer
from resources.subject.clamper import Clamper
from resources.subject.model import SubjectModel
from resources.subject.steerer import Steerer

TEXTS = VocabularyTexts(FakeTokenizer())  # type: ignore[arg-type]
KING, BREAD, RIVER = (len(SPECIAL) + WORDS.index(word) for word in ("king", "bread", "river"))
PLANTED = np.array([KING, BREAD, RIVER])
FEATURES = np.arange(3, dtype=np.uint32)
ROWS = np.random.default_rng(0).integers(len(SPECIAL), len(SPECIAL) + len(WORDS), size=(20, 33))
ROWS[:, 0] = FakeTokenizer.bos_token_id


@pytest.fixture(scope="module")
def subject() -> SubjectModel:
    """The stand-in with a louder unembedding: its own tells words apart by half a logit, which no steering brings to 3 nats."""
    subject = FakeModels().subject("fake", None, None)
    subject.model.get_output_embeddings().weight *= 15
    return subject


@pytest.fixture(scope="module")
def dictionary(subject: SubjectModel) -> SparseAutoencoder:
    """Feature i writes the unembedding of PLANTED[i] after the first of the two blocks, and reads something else."""
    rows = subject.model.get_output_embeddings().weight[PLANTED].clone()
    reads = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    hook = "blocks.0.hook_resid_post"
    return SparseAutoencoder("planted", hook, hook, None, reads, torch.zeros(3), rows, torch.zeros(32), Threshold())


def test_the_vocabulary_projection_names_the_word(subject: SubjectModel, dictionary: SparseAutoencoder) -> None:
    (block,) = projected_blocks(subject, dictionary, FEATURES, TEXTS, ProjectionSettings(n_tokens=3))
    assert block.token_ids[:, 0, 0].tolist() == PLANTED.tolist()


def test_clamping_raises_the_word_above_0_and_lowers_it_below(subject: SubjectModel, dictionary: SparseAutoencoder) -> None:
    windows = clamped_windows(ROWS, 1, TokenChangeSettings(n_windows=6, window_tokens=8), np.random.default_rng(1))
    clamper = Clamper(subject, dictionary, windows, first_counted=1)
    block = changed_block(clamper, FEATURES, np.full(3, 5.0), np.ones(3, dtype=bool), TEXTS, 3)
    raised, lowered = block.token_ids[:, :, 0, 0], block.token_ids[:, :, 1, 0]
    assert raised[:, 0].tolist() == lowered[:, 1].tolist() == PLANTED.tolist()
    assert (block.changes[:, 0, 0, 0] > 0).all() and (block.changes[:, 1, 1, 0] < 0).all()


@pytest.fixture(scope="module")
def steered(subject: SubjectModel, dictionary: SparseAutoencoder) -> list[SteeredFeature]:
    """The three features, each on the same ten prompts, up to 3 nats on either side."""
    settings = SteeringSettings(kl_targets=(0.1, 3.0, -0.1), zero_ablation=False, n_explainer_prompts=5, n_scoring_prompts=5)
    ids = tuple(row[: 4 + number] for number, row in enumerate(ROWS[:10]))
    prompts = SteeringPrompts("ok", 10, np.arange(10), np.ones(10, dtype=np.int64), ids, 1, 5)
    wanted = [(feature, prompts) for feature in FEATURES.tolist()]
    return list(steered_features(Steerer(subject, dictionary), wanted, settings, 0, TEXTS))


def test_steered_completions_say_the_word_and_clean_ones_do_not(steered: list[SteeredFeature]) -> None:
    for one, word in zip(steered, PLANTED.tolist(), strict=True):
        run = one.runs[1]
        assert run.tuned is not None and run.tuned.outcome == "ok" and run.realised_kl == pytest.approx(3, rel=0.1)
        said = [completion.count(word) / 8 for completion in run.completions]
        assert sum(said) / 10 > 0.5 > 0.1 > sum(completion.count(word) / 8 for completion in one.clean) / 10
        assert (run.shifts.token_ids[:, 0, 0] == word).all(), "it gains the most probability after every prompt"


def test_the_divergence_grows_with_every_strength_tried_on_the_way(steered: list[SteeredFeature]) -> None:
    for tuned in (run.tuned for one in steered for run in one.runs):
        assert tuned is not None and len(tuned.tried) >= 2 and tuned.monotone
        assert all(pair.strength * tuned.target > 0 for pair in tuned.tried)
        kls = [pair.kl for pair in tuned.tried if pair.kl > 1e-6]
        assert kls == sorted(kls)
