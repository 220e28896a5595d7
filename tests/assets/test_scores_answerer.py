"""Who answers: cases come back whole and in order, and with sequential settings nothing is asked that is not needed."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest

from interp_assets.asking import asker
from interp_assets.asking.questions import Answer, Question
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import StageSettings
from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.scoring import clarity, detection
from interp_assets.domain.scoring.clarity import ClaritySettings
from interp_assets.domain.scoring.shared.sequential import is_known, next_round
from interp_assets.domain.trials import AnsweredTrial, ScorerInput
from interp_assets.measuring.answerer import Generating, Judging, Planned
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.tables import ACTIVATIONS, SCHEMA_VERSION
from resources.language_models.interface import Reply
from resources.store.lake import Lake

WORDS = [" cat", *(f" w{i}" for i in range(1, 30))]


class Backwards:
    """An asker whose judge says 1 where the word is that the feature's number makes sure or not; it answers last questions first."""

    def __init__(self) -> None:
        self.batches: list[Counter[int]] = []
        self.prompts: list[str] = []
        self.closed = False

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        if questions:
            self.batches.append(Counter(question.feature for question in questions))
        for index, question in reversed(list(enumerate(questions))):
            text = question.prompt.messages[-1][1]
            self.prompts.append(text)
            yield index, Answer(question, Reply(replied(question.feature, text), "stop", 1, 0, 1, 0.0), f"key {text}", "model", "judge")

    def close(self) -> None:
        self.closed = True


def replied(feature: int, question: str) -> str:
    """Right for even features; for odd ones the parity of the text's length, which says nothing."""
    texts = question.split("\nText ")[1:]
    return str([int("cat" in text if feature % 2 == 0 else sum(map(ord, text)) % 2) for text in texts])


def partition(sequential: dict | None) -> RangePartition:
    settings = StageSettings.model_validate({"scoring": {"sequential": sequential, "n_bootstrap": 200}})
    return RangePartition(RangeKey("fake/00/neurons", "00of16"), None, settings, "v", {})  # type: ignore[arg-type]


def planned(n_features: int, sequential: dict | None, n_windows: int = 60) -> list[Planned]:
    """Cases of that many features, one of them without examples, and the end of the partition."""
    here, works = partition(sequential), []
    for feature in range(n_features):
        examples = [] if feature == 2 else [window(feature, i, n_windows) for i in range(2 * n_windows)]
        scorer_input = ScorerInput(feature, "max_act", "cats", (), tuple(examples), WORDS)
        works.append(Planned(here, scorer_input, detection.plan(scorer_input, here.settings.scoring.detection, 0)))
    return [*works, Planned(here, None)]


def window(feature: int, i: int, n_windows: int) -> Example:
    """One of the first n_windows, activating ones, holds the word; all differ."""
    on = i < n_windows
    tokens = (0 if on else 1, 2 + i % 7, 2 + i // 7, 2 + feature)
    kind = "activating" if on else "non_activating"
    return Example(f"{feature}/{i}", feature, "held_out", kind, "random", i % 10 if on else None, i, 0, tokens, (float(on), 0.0, 0.0, 0.0))


@pytest.mark.parametrize("sequential", [None, {"ci_width": 0.25, "first_trials": 6, "step_trials": 3}])
def test_cases_come_back_in_order_each_with_its_first_trials(sequential: dict | None) -> None:
    works = planned(7, sequential)
    answered = list(Judging(detection, Backwards()).answer(iter(works)))  # type: ignore[arg-type]
    assert [one.planned for one in answered] == works
    for one in answered:
        assert [t.trial for t in one.trials] == list(one.planned.trials[: len(one.trials)])
        assert [t.text for t in one.trials] == [replied(t.trial.feature, t.trial.prompt.messages[-1][1]) for t in one.trials]
        assert [answer.reply.text for answer in one.answers] == [t.text for t in one.trials]
        assert one.model == ("judge" if one.trials else "")
        assert sequential is not None or len(one.trials) == len(one.planned.trials)


def test_each_case_is_asked_until_it_is_known_and_no_further() -> None:
    works, asker = planned(5, {"ci_width": 0.25, "first_trials": 6, "step_trials": 3}), Backwards()
    answered = {one.planned.scorer_input.feature: one for one in Judging(detection, asker).answer(iter(works)) if one.planned.scorer_input}  # type: ignore[arg-type]
    settings = works[0].partition.settings.scoring
    for feature, one in answered.items():
        trials = one.planned.trials
        given: list[AnsweredTrial] = []
        while chosen := next_round(len(trials), len(given), settings.sequential):
            given += [AnsweredTrial(trials[i], replied(feature, trials[i].prompt.messages[-1][1])) for i in chosen]
            verdicts = detection.grade(one.planned.scorer_input, given, settings.detection)
            if is_known(
                detection.summarise(one.planned.scorer_input, verdicts, settings.detection, 200, 0),
                "balanced_accuracy",
                settings.sequential,
            ):
                break
        assert [t.trial.trial_id for t in one.trials] == [t.trial.trial_id for t in given]
        assert len({verdict.trial_id for verdict in detection.grade(one.planned.scorer_input, one.trials, settings.detection)}) == len(
            given
        )
    asked = {feature: len(one.trials) for feature, one in answered.items()}
    assert asked[2] == 0 and asked[0] == asked[4] == 6 < asked[1] and asked[3] > 6 and max(asked.values()) <= 24
    assert sum(asked.values()) == len(asker.prompts) == len(set(asker.prompts))
    assert asker.batches[0] == {0: 6, 1: 6, 3: 6, 4: 6} and all(set(batch) <= {1, 3} for batch in asker.batches[1:])


def test_waves_do_not_change_what_is_asked(monkeypatch) -> None:
    works = planned(6, {"ci_width": 0.25})

    def given() -> list[list[str]]:
        return [[t.text for t in one.trials] for one in Judging(detection, Backwards()).answer(iter(works))]  # type: ignore[arg-type]

    at_once = given()
    monkeypatch.setattr(asker, "WAVE_QUESTIONS", 30)
    assert given() == at_once == given()


def test_without_sequential_settings_a_wave_is_one_batch() -> None:
    asker = Backwards()
    judging = Judging(detection, asker)  # type: ignore[arg-type]
    assert len(list(judging.answer(iter(planned(4, None))))) == 5
    assert len(asker.batches) == 1
    judging.close()
    assert asker.closed


def test_of_generator_and_subject_one_is_loaded_at_a_time(monkeypatch) -> None:
    """In every wave: the subject goes before the generator is asked, and the generator before the subject is run."""
    monkeypatch.setattr(asker, "WAVE_QUESTIONS", 2)
    loaded: set[str] = set()

    class Generator:
        def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
            assert not loaded & {"subject"}
            loaded.add("generator")
            for index, question in enumerate(questions):
                yield index, Answer(question, Reply('{"texts": ["a", "b"]}', "stop", 1, 0, 1, 0.0), "key", "model", "writer")

        def close(self) -> None:
            loaded.discard("generator")

    class Measure:
        def largest_activations(self, wanted: Sequence[tuple]) -> list[float]:
            assert not loaded & {"generator"}
            loaded.add("subject")
            return [float(number) for number in range(len(wanted))]

        def close(self) -> None:
            loaded.discard("subject")

    here = partition(None)
    works = []
    for feature in range(5):
        scorer_input = ScorerInput(feature, "max_act", "cats", (), tuple(window(feature, i, 4) for i in range(8)), WORDS)
        works.append(Planned(here, scorer_input, clarity.plan(scorer_input, ClaritySettings(n_texts=2), 0)))
    answered = list(Generating(clarity, Generator(), Measure(), None).answer(iter(works)))  # type: ignore[arg-type]
    assert [[t.activations for t in one.trials] for one in answered] == [[(0.0, 1.0)], [(2.0, 3.0)]] * 2 + [[(0.0, 1.0)]]
    assert loaded == {"subject"}


def test_a_text_on_which_a_feature_is_weaker_than_the_silent_share_counts_as_silent(tmp_path) -> None:
    """Feature 3 fires at up to 8: with a silent share of 0.5 a text at 3.99 is silent and one at 4 is not; stored windows obey the same."""
    record = DictionaryRecord(key="fake/00/neurons", hook="blocks.0.mlp.hook_post", kind="neurons", width=64)
    lake = Lake(str(tmp_path), SCHEMA_VERSION)
    index = next(i for i in range(len(FEATURE_RANGE_KEYS)) if 3 in record.features_of(RangeKey(record.key, FEATURE_RANGE_KEYS[i])))
    columns = {"dictionary": [record.key] * 2, "feature": [3, 3], "position": [1, 2], "value": np.array([8.0, 2.0], np.float16)}
    rows = pa.table(columns, schema=ACTIVATIONS.schema)
    lake.write(ACTIVATIONS.name, lake_partition(RangeKey(record.key, FEATURE_RANGE_KEYS[index])), ACTIVATIONS.schema, rows, "v", {})

    class Generator:
        def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
            for number, question in enumerate(questions):
                yield number, Answer(question, Reply('{"texts": ["a", "b"]}', "stop", 1, 0, 1, 0.0), "key", "model", "writer")

        def close(self) -> None: ...

    class Measure(Generator):
        def largest_activations(self, wanted: Sequence[tuple]) -> list[float]:
            return [3.99, 4.0] * (len(wanted) // 2)

    def measured(share: float) -> list[tuple[float, ...]]:
        settings = StageSettings.model_validate({"examples": {"silent_share": share}})
        here = RangePartition(RangeKey(record.key, FEATURE_RANGE_KEYS[index]), record, settings, "v", {})
        scorer_input = ScorerInput(3, "max_act", "cats", (), tuple(window(3, i, 4) for i in range(8)), WORDS)
        work = Planned(here, scorer_input, clarity.plan(scorer_input, ClaritySettings(n_texts=2), 0))
        (answered,) = Generating(clarity, Generator(), Measure(), lake).answer(iter([work]))  # type: ignore[arg-type]
        return [trial.activations for trial in answered.trials]  # type: ignore[misc]

    assert set(measured(0.0)) == {(3.99, 4.0)}
    assert set(measured(0.5)) == {(0.0, 4.0)}


def test_a_case_on_which_grading_fails_is_asked_no_further_and_stops_no_other(monkeypatch) -> None:
    def grade(scorer_input: ScorerInput, *arguments: object) -> tuple:
        if scorer_input.feature == 1:
            raise ZeroDivisionError
        return whole(scorer_input, *arguments)  # type: ignore[arg-type]

    whole = detection.grade
    monkeypatch.setattr(detection, "grade", grade)
    works = planned(4, {"ci_width": 0.25, "first_trials": 6, "step_trials": 3})
    answered = list(Judging(detection, Backwards()).answer(iter(works)))  # type: ignore[arg-type]
    assert [one.planned for one in answered] == works
    assert len(answered[1].trials) == 6 < len(answered[3].trials)
