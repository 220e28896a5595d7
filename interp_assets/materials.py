"""What explainers are given about the features of a cell, read feature by feature."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from interp_assets.cells import Cell
from interp_assets.domain.explaining import Explainer
from interp_assets.domain.explaining.material import Material
from interp_assets.evidence import FeatureEvidence, read_evidence
from interp_assets.stages import cell_partition
from interp_assets.tables import FEATURE_STATISTICS, VOCABULARY_PROJECTIONS
from resources.lake import Lake


def read_materials(lake: Lake, cell: Cell, explainer: Explainer) -> Iterator[tuple[FeatureEvidence, Material]]:
    """Evidence and material on every feature of a cell, ascending; what the explainer does not read is left empty."""
    statistics = _top_tokens(lake, cell) if "feature_statistics" in explainer.READS else {}
    projections = _Projections(lake, cell) if "vocabulary_projections" in explainer.READS else None
    for item in read_evidence(lake, cell.key):
        token, share = statistics.get(item.feature, (None, None))
        yield (
            item,
            Material(
                feature=item.feature,
                shown=item.shown,
                token_texts=item.token_texts,
                contrast=item.shown_non_activating,
                validation=item.validation,
                promoted=projections.of(item.feature, "promoted") if projections else (),
                suppressed=projections.of(item.feature, "suppressed") if projections else (),
                top_token=token,
                top_token_share=share,
            ),
        )


def _top_tokens(lake: Lake, cell: Cell) -> dict[int, tuple[str | None, float | None]]:
    """Each feature's heaviest token and its share of the activation mass."""
    columns = ["feature", "top_tokens", "top_token_share"]
    rows = lake.read(FEATURE_STATISTICS.name, cell_partition(cell.key), columns=columns).to_pylist()
    return {row["feature"]: (row["top_tokens"][0]["token"] if row["top_tokens"] else None, row["top_token_share"]) for row in rows}


@dataclass(frozen=True, eq=False)
class _Side:
    """Rows of one side, sorted by feature and rank."""

    feature: np.ndarray
    token: pa.ChunkedArray
    logit: np.ndarray


class _Projections:
    """The vocabulary projections of a cell."""

    def __init__(self, lake: Lake, cell: Cell) -> None:
        columns = ["feature", "side", "rank", "token", "logit"]
        rows = lake.read(VOCABULARY_PROJECTIONS.name, cell_partition(cell.key), columns=columns)
        rows = rows.set_column(1, "side", rows.column("side").cast(pa.string())).sort_by([("feature", "ascending"), ("rank", "ascending")])
        self._sides: dict[str, _Side] = {}
        for side in ("promoted", "suppressed"):
            part = rows.filter(pa.compute.equal(rows.column("side"), side))
            self._sides[side] = _Side(part.column("feature").to_numpy(), part.column("token"), part.column("logit").to_numpy())

    def of(self, feature: int, side: str) -> tuple[tuple[str, float], ...]:
        """(token, logit) of one side of a feature, strongest first; none where it has no projection."""
        rows = self._sides[side]
        low, high = np.searchsorted(rows.feature, [feature, feature + 1]).tolist()
        return tuple(zip(rows.token[low:high].to_pylist(), rows.logit[low:high].tolist(), strict=True))
