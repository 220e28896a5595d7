"""Explainer inputs of the features of a partition, read feature by feature."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from interp_assets.config.keys import lake_partition
from interp_assets.domain.explaining import ComputedExplainer, Explainer
from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, SteeredPrompt, TokenChanges
from interp_assets.domain.steering.token_changes import SIDES, SIGNS
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.reading.examples import StoredExamples, read_examples
from interp_assets.tables import FEATURE_STATISTICS, STEERED_TEXTS, TOKEN_CHANGES, VOCABULARY_PROJECTIONS, Table
from resources.store.lake import Lake


def read_explainer_inputs(
    lake: Lake, partition: RangePartition, explainer: Explainer | ComputedExplainer
) -> Iterator[tuple[StoredExamples, ExplainerInput]]:
    """The stored examples and the explainer input of every feature of a partition, ascending; fields that the explainer does not read are
    empty."""
    reads = partition.settings.explaining.reads(explainer)
    statistics = _top_tokens(lake, partition) if "feature_statistics" in reads else {}
    projections = _Projections(lake, partition) if "vocabulary_projections" in reads else None
    changes = _Changes(lake, partition) if "token_changes" in reads else None
    steered = _Steered(lake, partition, partition.settings.explaining.of(explainer).target_kl) if "steering" in reads else None
    for item in read_examples(lake, partition.key, partition.only):
        token, share = statistics.get(item.feature, (None, None))
        yield (
            item,
            ExplainerInput(
                feature=item.feature,
                shown=item.shown,
                token_texts=item.token_texts,
                contrast=item.shown_non_activating,
                validation=item.validation,
                promoted=projections.of(item.feature, "promoted") if projections else (),
                suppressed=projections.of(item.feature, "suppressed") if projections else (),
                top_token=token,
                top_token_share=share,
                clamped=changes.of(item.feature) if changes else (),
                steered=steered.of(item.feature) if steered else (),
            ),
        )


def _top_tokens(lake: Lake, partition: RangePartition) -> dict[int, tuple[str | None, float | None]]:
    """Each feature's heaviest token and its share of the activation mass."""
    columns = ["feature", "top_tokens", "top_token_share"]
    rows = lake.read(FEATURE_STATISTICS.name, lake_partition(partition.key), columns=columns).to_pylist()
    return {row["feature"]: (row["top_tokens"][0]["token"] if row["top_tokens"] else None, row["top_token_share"]) for row in rows}


class _Lists:
    """For each of some features a list of (token, number)."""

    def __init__(self, rows: pa.Table, number: str) -> None:
        """`rows`, by feature and rank, have the columns feature, token and `number`."""
        self._feature, self._token, self._number = rows.column("feature").to_numpy(), rows.column("token"), rows.column(number).to_numpy()

    def of(self, feature: int) -> tuple[tuple[str, float], ...]:
        """The list of a feature, by rank; empty where it has none."""
        low, high = np.searchsorted(self._feature, [feature, feature + 1]).tolist()
        return tuple(zip(self._token[low:high].to_pylist(), self._number[low:high].tolist(), strict=True))


class _Projections:
    """The vocabulary projections of a partition."""

    def __init__(self, lake: Lake, partition: RangePartition) -> None:
        rows = _ranked(lake, partition, VOCABULARY_PROJECTIONS, ["side"], "logit")
        self._sides = {side: _Lists(_where(rows, side=side), "logit") for side in ("promoted", "suppressed")}

    def of(self, feature: int, side: str) -> tuple[tuple[str, float], ...]:
        """(token, logit) of one side of a feature, strongest first; empty where the feature has no projection."""
        return self._sides[side].of(feature)


class _Changes:
    """The token changes of a partition."""

    def __init__(self, lake: Lake, partition: RangePartition) -> None:
        rows = _ranked(lake, partition, TOKEN_CHANGES, ["sign", "side"], "change", "strength")
        of_sign = {sign: _where(rows, sign=sign) for sign in SIGNS}
        self._sides = {(sign, side): _Lists(_where(of_sign[sign], side=side), "change") for sign in SIGNS for side in SIDES}
        self._strengths = {sign: _Lists(_where(of_sign[sign], side="raised"), "strength") for sign in SIGNS}

    def of(self, feature: int) -> tuple[TokenChanges, ...]:
        """The token changes of a feature that is clamped above and below 0; empty where the feature was not clamped."""
        raised, lowered = ([self._sides[sign, side].of(feature) for sign in SIGNS] for side in SIDES)
        strengths = [[strength for _, strength in self._strengths[sign].of(feature)[:1]] for sign in SIGNS]
        return tuple(TokenChanges(own[0], up, down) for own, up, down in zip(strengths, raised, lowered, strict=True) if own)


class _Steered:
    """The prompts of a partition for explainers, steered to one target KL divergence."""

    def __init__(self, lake: Lake, partition: RangePartition, target_kl: float) -> None:
        columns = ["feature", "prompt", "prompt_text", "raised_tokens"]
        filters = [("role", "=", "explainer"), ("intervention", "=", "strength"), ("target_kl", "=", target_kl)]
        rows = lake.read(STEERED_TEXTS.name, lake_partition(partition.key), columns=columns, filters=filters)
        self._rows = rows.sort_by([("feature", "ascending"), ("prompt", "ascending")])
        self._feature = self._rows.column("feature").to_numpy()

    def of(self, feature: int) -> tuple[SteeredPrompt, ...]:
        """The steered prompts of a feature; empty where the feature was not steered."""
        low, high = np.searchsorted(self._feature, [feature, feature + 1]).tolist()
        prompts = []
        for row in self._rows.slice(low, high - low).to_pylist():
            rises = [(one["token"], math.exp(one["steered_logprob"]) - math.exp(one["clean_logprob"])) for one in row["raised_tokens"]]
            prompts.append(SteeredPrompt(row["prompt_text"], tuple(rises)))
        return tuple(prompts)


def _ranked(lake: Lake, partition: RangePartition, table: Table, kinds: Sequence[str], *numbers: str) -> pa.Table:
    """A partition's rows with a token, by feature and rank; `kinds` are the columns that tell the lists of a feature apart."""
    rows = lake.read(table.name, lake_partition(partition.key), columns=["feature", *kinds, "rank", "token", *numbers])
    for kind in kinds:
        rows = rows.set_column(rows.column_names.index(kind), kind, rows.column(kind).cast(pa.string()))
    return rows.filter(pc.is_valid(rows.column("token"))).sort_by([("feature", "ascending"), ("rank", "ascending")])


def _where(rows: pa.Table, **values: str) -> pa.Table:
    """The rows with these values in these columns."""
    for name, value in values.items():
        rows = rows.filter(pc.equal(rows.column(name), value))
    return rows
