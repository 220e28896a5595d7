"""Running the subject model on given texts."""

from typing import Any

import numpy as np
import pytest

from interp_assets.config.base import UserError
from interp_assets.config.records import IMPORTED_KINDS, DictionaryRecord, ImportedFiles
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.demo.run import RECORDS
from interp_assets.measuring import texts
from interp_assets.measuring.texts import MAX_TEXT_TOKENS, TextMeasure
from resources.fakes import WORDS, FakeModels
from resources.model_provider import ModelProvider, RealModels
from resources.progress import Progress

NEURONS = DictionaryRecord(key="fake/00/neurons", hook="blocks.0.mlp.hook_post", kind="neurons", width=64)
TOP = DictionaryRecord(key="fake/01/top", hook="blocks.1.mlp.hook_post", kind="topk_neurons", width=64, k=8)


def some_texts(n: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 40 words."""
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, 41))) for _ in range(n)]


def measured(wanted: list, models: ModelProvider | None = None) -> list[float]:
    measure = TextMeasure(models or FakeModels(), lambda progress: None)
    found = measure.largest_activations(wanted)
    measure.close()
    return found


def one_at_a_time(models: Any, record: DictionaryRecord, pairs: list[tuple[int, str]]) -> list[float]:
    """The same from the hook's values on one text after another, without padding, the BOS left out."""
    subject = models.subject(record.model.source, record.model.revision, record.model.dtype)
    tokenizer = models.tokenizer(record.model.source, record.model.revision)
    dictionary = models.dictionary(kind=record.kind, **record.loader_fields, device=str(subject.device))
    found = []
    for feature, text in pairs:
        ids, bos = tokenizer.encode(text).tolist(), [] if subject.bos_token_id is None else [subject.bos_token_id]
        values = subject.hook_values(np.array([[*bos, *ids]]), [record.hook])[record.hook][0, len(bos) :]
        encoded = dictionary.encode(values)
        found.append(max(encoded.value[encoded.feature == feature].tolist(), default=0.0))
    return found


@pytest.mark.parametrize("record", [NEURONS, TOP])
def test_largest_activations_equal_those_of_one_text_at_a_time(record: DictionaryRecord) -> None:
    pairs = [(i * 7 % 64, text) for i, text in enumerate(some_texts(60))]
    found = measured([(record, feature, text) for feature, text in pairs])
    assert found == pytest.approx(one_at_a_time(FakeModels(), record, pairs), abs=1e-5)
    assert len({round(value, 4) for value in found}) > (40 if record is NEURONS else 5)
    if record is TOP:
        assert found.count(0.0) > 5  # among a token's eight largest nowhere


def test_a_text_is_read_as_far_as_the_model_reads() -> None:
    """With 6 positions, one of them BOS, a text counts up to its fifth word."""

    class Short(FakeModels):
        def subject(self, *asked: Any, **named: Any) -> Any:
            subject = super().subject(*asked, **named)
            subject.context_limit = 6
            return subject

    long = [text for text in some_texts(20, seed=5) if len(text.split()) > 5]
    beginnings = [" ".join(text.split()[:5]) for text in long]
    found = measured([(NEURONS, 3 * i % 64, text) for i, text in enumerate(long)], Short())
    assert found == pytest.approx(measured([(NEURONS, 3 * i % 64, text) for i, text in enumerate(beginnings)]), abs=1e-5)
    assert found != pytest.approx(measured([(NEURONS, 3 * i % 64, text) for i, text in enumerate(long)]), abs=1e-5)


def test_padding_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in one padded batch, in batches of one row, and beside a text that is far longer."""
    wanted = [(NEURONS, i % 64, text) for i, text in enumerate(some_texts(20))]
    together = measured(wanted)
    beside = measured([*wanted, (NEURONS, 0, " ".join(WORDS * 2))])[:-1]
    monkeypatch.setattr(texts, "BATCH_TOKENS", 1)
    assert together == pytest.approx(measured(wanted), abs=1e-5)
    assert together == pytest.approx(beside, abs=1e-5)


def test_batches_hold_at_most_so_many_tokens_or_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "BATCH_TOKENS", 50)
    shapes, batch = [], texts._batch

    def watched(subject: Any, dictionary: Any, features: np.ndarray, rows: Any, wanted: Any) -> list[float]:
        shapes.append((len(rows), max(len(row) for row in rows)))
        return batch(subject, dictionary, features, rows, wanted)

    monkeypatch.setattr(texts, "_batch", watched)
    measured([(NEURONS, 3, text) for text in [*some_texts(30), " ".join(WORDS)]])
    assert sum(rows for rows, _ in shapes) == 31 and len(shapes) > 5
    assert all(rows * longest <= 50 or rows == 1 for rows, longest in shapes)
    assert [longest for _, longest in shapes] == sorted((longest for _, longest in shapes), reverse=True)


def test_a_text_without_tokens_is_silent() -> None:
    found = measured([(NEURONS, 3, ""), (NEURONS, 3, "the king"), (NEURONS, 3, "?! ")])
    assert (found[0], found[2]) == (0.0, 0.0)
    assert found[1:2] == measured([(NEURONS, 3, "the king")])
    assert measured([(NEURONS, 3, "")]) == [0.0] and measured([]) == []


def test_what_lies_beyond_the_longest_text_does_not_count() -> None:
    words = (WORDS * 4)[: MAX_TEXT_TOKENS + 50]
    cut = [(NEURONS, feature, " ".join(words[:MAX_TEXT_TOKENS])) for feature in range(8)]
    assert measured([(NEURONS, feature, " ".join(words)) for feature in range(8)]) == pytest.approx(measured(cut), abs=1e-5)


def test_several_dictionaries_and_equal_texts_keep_their_places() -> None:
    pairs = [(i % 5, text) for i, text in enumerate([*some_texts(6), *some_texts(6)])]
    wanted = [(record, feature, text) for feature, text in pairs for record in (NEURONS, TOP)]
    apart = [measured([(record, feature, text) for feature, text in pairs]) for record in (NEURONS, TOP)]
    assert measured(wanted) == pytest.approx([value for both in zip(*apart, strict=True) for value in both], abs=1e-5)


def test_a_subject_is_loaded_for_the_first_text_and_once_for_all_dictionaries_on_it() -> None:
    models, seen = FakeModels(), list[Progress]()
    measure = TextMeasure(models, seen.append)
    assert models.loads == 0
    measure.largest_activations([(NEURONS, 3, "the king"), (TOP, 3, "the king"), (NEURONS, 4, "")])
    measure.largest_activations([(TOP, 3, "the law")])
    assert models.loads == 1
    assert [(progress.done, progress.total) for progress in seen] == [(1, 1), (1, 1), (1, 1)]
    measure.close()
    measure.largest_activations([(TOP, 3, "the law")])
    assert models.loads == 2
    measure.close()


@pytest.mark.parametrize("kind", IMPORTED_KINDS)
def test_what_was_imported_without_weights_is_refused_by_name(kind: str) -> None:
    imported = NEURONS.model_copy(
        update={"key": "gpt2/06/imported", "kind": kind, "source": "/somewhere", "imported": ImportedFiles(content="0" * 16)}
    )
    models = FakeModels()
    with pytest.raises(UserError, match=rf"gpt2/06/imported \({kind}\) was imported without weights.*scores"):
        measured([(imported, 3, "the king")], models)
    assert models.loads == 0


@pytest.mark.real_model
def test_the_demo_dictionary_on_the_real_model() -> None:
    """Feature by feature as one text at a time; some of the features fire, on some of the texts."""
    record = DictionaryRegistry.parse((RECORDS / "res-2k.yaml").read_text(), "res-2k.yaml")
    sentences = ["The war ended in the winter.", "She paid for bread,\nand left.", "def run(x): return x", "An empty street at night"]
    pairs = [(feature, text) for feature in range(0, 2048, 16) for text in sentences]
    found = measured([(record, feature, text) for feature, text in pairs], RealModels())
    places = [*np.argsort(found)[-3:].tolist(), 0]
    alone = one_at_a_time(RealModels(), record, [pairs[place] for place in places])
    assert [found[place] for place in places] == pytest.approx(alone, rel=1e-4)
    assert max(found) > 1 and 0 < sum(value > 0 for value in found) < len(found) / 2
