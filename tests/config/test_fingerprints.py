"""Data versions hang on settings: a table of what the defaults give, and fields that come later without making anything stale.

Where a line of the table changes, every site makes that stage of every dictionary anew. A new field with a neutral default is marked
ADDED_LATER instead; a method whose results change on purpose gets a new VERSION, which is not part of this table.
"""

from dataclasses import dataclass, field, make_dataclass
from functools import cache
from typing import Annotated, Any

import pytest
from pydantic import Field, create_model

from interp_assets.config import base
from interp_assets.config.base import Closed, fingerprint
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import PlatformSettings, SentenceEncoderSettings
from interp_assets.domain.bounds import ADDED_LATER, versioned_fields
from interp_assets.domain.explaining import METHODS, SHUFFLED
from interp_assets.domain.scoring import SCORERS
from interp_assets.domain.steering.strengths import SteeringSettings
from interp_assets.domain.steering.token_changes import TokenChangeSettings
from interp_assets.graph.assembly import RANGE_STAGES
from interp_assets.orchestration.versions import (
    activations_version,
    embeddings_version,
    matches_version,
    neighbours_version,
    sample_version,
)

LATER = [baseline.NAME for baseline in SHUFFLED[2:]]
"""Methods that came later, and so are not among the explanations that the pinned scores are of."""
ASKED = {
    "explanations": [method for method in METHODS if method not in LATER],
    "scores": {scorer.NAME: "all" for scorer in SCORERS},
    "steering": {"enabled": True},
    "examples": {"n_validation": 30, "non_activating": {"similar": 0.5, "random": 0.5}},
}
"""Every stage is asked for, each with its defaults as far as it can be."""

PINNED = {
    "record": "ff7c24692395dc86",
    "token_sample": "61d51f701e9f1ec7",
    "activation_shards": "d50ca5bb83960426",
    "activation_shards, capped": "d49e55d0bccb25eb",
    "feature_neighbours": "f3feeea8f6a66db7",
    "window_embeddings": "85156c7f7504154c",
    "feature_matches": "b61321b1f41ec0c8",
    "vocabulary_projections": "576a5977431dd14a",
    "token_changes": "405f2abfb0b4eace",
    "steering": "67c46265ae4a7dd6",
    "examples": "4a35e0faee712a16",
    "explanations/max_act": "44943fee2a835b2c",
    "explanations/max_act_cot": "9d75c9485af89755",
    "explanations/contrastive": "67ddd0176d62d90a",
    "explanations/single_token": "1af834777b221f9d",
    "explanations/vocab_proj": "a3877559f027b01d",
    "explanations/token_change": "b226037654478219",
    "explanations/intervention": "ec4dfda10a0cd15d",
    "explanations/ensemble_raw": "5f9ee02023e5391c",
    "explanations/candidates": "d3c9a1361e10a93b",
    "explanations/pattern": "744372d26c87095d",
    "explanations/token_list": "c9ce51a9b33454b8",
    "explanations/shuffled": "1c28f2eb0958c3d1",
    "explanations/shuffled_token_list": "1c28f2eb0958c3d1",
    **{f"explanations/{method}": "1c28f2eb0958c3d1" for method in LATER},
    "explanations/ensemble_concat": "1c28f2eb0958c3d1",
    "explanations/constant": "1c28f2eb0958c3d1",
    "explanations/planted_false": "1c28f2eb0958c3d1",
    "explanations/human": "1c28f2eb0958c3d1",
    "explanations/imported": "1c28f2eb0958c3d1",
    "explanations/planted_true": "1c28f2eb0958c3d1",
    "explanations/planted_narrowed": "1c28f2eb0958c3d1",
    "explanations/planted_broadened": "1c28f2eb0958c3d1",
    "scores/detection": "dc16afbad773d82b",
    "scores/fuzzing": "9512a153ca7193a2",
    "scores/simulation": "d621dbcf501b7778",
    "scores/surprisal": "e8e609f3dbf7f136",
    "scores/embedding": "c9f534c9eb6598fb",
    "scores/intruder": "0ff3c8254d3307d3",
    "scores/example_embedding": "2134c774d641a3f3",
    "scores/discrimination": "73161ed15b5c0fb7",
    "scores/input_based": "be395f86b7e0c119",
    "scores/clarity": "8aeea469212fbc73",
    "scores/responsiveness": "dc16afbad773d82b",
    "scores/purity": "dc16afbad773d82b",
    "scores/intervention": "51933a18fb44de22",
    "scores/output_based": "2c3a5663764c1487",
    "scores/faithfulness": "dc16afbad773d82b",
    "scores/matcher": "82e9b3202a7b47b7",
    "scores/description_likelihood": "53d870fccb446660",
    "scores/sensitivity": "d5c8cdb615c9ed92",
}

RECORD = DictionaryRecord(key="model/09/name", hook="blocks.9.mlp.hook_post", kind="neurons", width=1536)
OTHER = RECORD.model_copy(update={"key": "model/09/other"})


@cache
def versions() -> dict[str, str]:
    """Of each range stage, the fingerprint of its settings; of each stage by dictionary, the data version of RECORD."""
    platform = PlatformSettings(stages=ASKED)
    stages, more = platform.stage_settings({}), platform.stage_settings({"explanations": list(METHODS)})
    sample = sample_version(RECORD, "tokenizer")
    return {
        "record": RECORD.fingerprint,
        "token_sample": sample,
        "activation_shards": activations_version(RECORD, stages, "sample"),
        "activation_shards, capped": activations_version(RECORD, platform.stage_settings({"harvest": {"max_activations": 1000}}), "sample"),
        "feature_neighbours": neighbours_version(stages, "activations"),
        "window_embeddings": embeddings_version(RECORD, stages, "sample", lambda: "encoder"),
        "feature_matches": matches_version(RECORD, [OTHER], stages, {"max_act model/09/name": "v"}, lambda: "encoder"),
        **{
            stage.asset: fingerprint(stage.settings_of(more if stage.asset.split("/")[-1] in LATER else stages, platform))
            for stage in RANGE_STAGES
        },
    }


@pytest.mark.parametrize("name", PINNED)
def test_the_defaults_give_the_versions_that_they_gave(name: str) -> None:
    assert versions()[name] == PINNED[name]


def test_every_stage_stands_in_the_table() -> None:
    assert list(versions()) == list(PINNED)


class Inner(Closed):
    """A settings block before a field came to it."""

    n: int = 1


class InnerLater(Closed):
    """The same block with two fields that came later."""

    n: int = 1
    n_draws: Annotated[int, Field(ge=1), ADDED_LATER] = 1
    names: Annotated[list[str], ADDED_LATER] = Field(default_factory=list)


@dataclass(frozen=True)
class Plain:
    """A domain's settings class."""

    share: float = 0.5
    inner: Inner | InnerLater = field(default_factory=Inner)


@dataclass(frozen=True)
class PlainLater:
    """The same class with a field that came later."""

    share: float = 0.5
    inner: Inner | InnerLater = field(default_factory=InnerLater)
    kind: Annotated[str | None, ADDED_LATER] = None
    names: Annotated[list[str], ADDED_LATER] = field(default_factory=list)


@pytest.mark.parametrize(
    ("before", "later"),
    [
        (Inner(), InnerLater()),
        (Inner(n=3), InnerLater(n=3, n_draws=1)),
        (Plain(), PlainLater()),
        (versioned_fields(Plain(), {"share"}), versioned_fields(PlainLater(), {"share"})),
        ([Plain(0.25), {"a": Inner()}, (Inner(),)], [PlainLater(0.25), {"a": InnerLater()}, (InnerLater(),)]),
    ],
)
def test_a_field_that_comes_later_changes_nothing_while_it_has_its_default(before: Any, later: Any) -> None:
    assert fingerprint(before) == fingerprint(later)


@pytest.mark.parametrize(
    "changed",
    [InnerLater(n_draws=2), InnerLater(names=["a"]), InnerLater(n=2), PlainLater(kind="a"), PlainLater(inner=InnerLater(n_draws=3)),
     PlainLater(names=["a"]),
     [InnerLater(n_draws=2)], {"a": (InnerLater(names=["b"]),)}],
)  # fmt: skip
def test_a_field_that_comes_later_counts_once_it_is_set(changed: Any) -> None:
    neutral = {InnerLater: InnerLater(), PlainLater: PlainLater(), list: [InnerLater()], dict: {"a": (InnerLater(),)}}[type(changed)]
    assert fingerprint(changed) != fingerprint(neutral)


@pytest.mark.parametrize("settings", [SteeringSettings, TokenChangeSettings, SentenceEncoderSettings])
def test_settings_that_leave_out_what_changes_no_result_keep_the_marks(settings: type) -> None:
    """The same class with a field added later, in a subclass of it."""
    if issubclass(settings, Closed):
        later = create_model("Later", __base__=settings, extra=(Annotated[int, ADDED_LATER], 1))
    else:
        later = make_dataclass("Later", [("extra", Annotated[int, ADDED_LATER], 1)], bases=(settings,), frozen=True)
    assert fingerprint(later().versioned_settings) == fingerprint(settings().versioned_settings)
    assert fingerprint(later(extra=2).versioned_settings) != fingerprint(settings().versioned_settings)


def test_a_type_is_looked_into_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[type] = []
    adapter = base.TypeAdapter
    monkeypatch.setattr(base, "TypeAdapter", lambda kind: made.append(kind) or adapter(kind))
    base._adapter.cache_clear()
    assert base.fingerprint("a", 1) != base.fingerprint("b", 2)
    assert made == [str, int]


def test_several_deals_are_a_setting_of_the_shuffled_baselines_alone() -> None:
    platform = PlatformSettings(stages=ASKED)
    once, twice = platform.stage_settings({}), platform.stage_settings({"explaining": {"shuffled": {"deals": 2}}})
    changed = [s.asset for s in RANGE_STAGES if fingerprint(s.settings_of(once, platform)) != fingerprint(s.settings_of(twice, platform))]
    assert changed == ["explanations/shuffled", "explanations/shuffled_token_list"]
