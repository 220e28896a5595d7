"""Examples of a feature: activating and silent windows in three roles.

Shown windows are for explainers, validation windows for choosing among candidate explanations, held-out windows for scorers. Windows are
made distinct as token sequences, split once into a shown, a validation and a held-out pool, and only then sampled. So no window that an
explanation was made from or chosen by recurs, even as text, among the windows on which it is scored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal, get_args

import numpy as np

from interp_assets.domain.bounds import ADDED_LATER, Bounded
from interp_assets.domain.examples.firing_shares import FiringShares
from interp_assets.domain.examples.negatives import HARD_KINDS, NEGATIVE_KINDS, NegativeKind, negative_counts
from interp_assets.domain.examples.passages import SampleText
from interp_assets.domain.examples.windows import Builder, Places, WindowShape, descending
from interp_assets.domain.outcomes import ExamplesOutcome

Sampling = Literal["quantiles", "top", "random", "mix"]
Role = Literal["shown", "validation", "held_out"]
Kind = Literal["activating", "non_activating"]

ROLES: tuple[Role, ...] = get_args(Role)
HELD_OUT_SAMPLING: Sampling = "quantiles"
"""How validation and held-out windows are drawn. Both are drawn alike, so that explanations are chosen as they are scored."""


@dataclass(frozen=True)
class ExampleSettings:
    """How examples are made; the defaults are the defaults of arXiv 2410.13928."""

    window_tokens: Bounded = 32
    """Tokens of a window. Unit: tokens."""
    n_shown: Bounded = 40
    """Activating windows that explainers see. Unit: windows of a feature."""
    n_held_out: Bounded = 100
    """Activating windows that scorers see. Unit: windows of a feature."""
    n_non_activating: Bounded = 100
    """Silent windows that scorers see. Unit: windows of a feature."""
    min_activating: Bounded = 200
    """A feature with fewer activating windows ends as `too_few_windows`. Unit: windows of a feature."""
    sampling: Sampling = "quantiles"
    """How shown windows are drawn; validation and held-out windows are always drawn by quantiles."""
    builder: Builder = "centred"
    """`centred`: the peak stands at three quarters of the windows that are shown, and at a random place of all other windows, where a place
    would be an answer. `cells`: the context is cut into fixed windows."""
    n_strata: Bounded = 10
    """Strata of equal count, by peak activation, from which windows are drawn evenly. Unit: strata."""
    mix_top_share: float = 0.2
    """Share of the shown windows that `sampling: mix` takes from the strongest windows. Unit: share."""
    silent_share: float = 0.0
    """Activations below this share of the feature's own maximum count as silence. Raw neurons are never exactly silent and need a value
    such as 0.1. Unit: share of the feature's maximum."""
    non_activating: NegativeKind | dict[NegativeKind, float] = "random"
    """One kind of silent window, or shares of several kinds that sum to 1. `random`: from anywhere. `similar`: nearest in meaning to the
    shown windows. `neighbour`: windows on which the nearest features fire. `token`: around tokens on which the feature peaks elsewhere,
    each as often as it peaks there. Where a kind has too few windows, random windows are taken."""
    n_neighbours: Bounded = 5
    """Nearest features whose windows are `neighbour` windows. Unit: features."""
    n_peak_tokens: Bounded = 5
    """Heaviest tokens of a feature around which the `token` windows lie that explainers see. Unit: tokens."""
    n_validation: Bounded = 0
    """Activating windows, and as many silent windows, for choosing among candidate explanations. Unit: windows of a feature."""
    n_shown_non_activating: Bounded = 5
    """Silent windows that explainers may see for contrast. Unit: windows of a feature."""
    shown_non_activating: NegativeKind | None = None
    """Kind of the silent windows that explainers may see. By default the first of similar, neighbour, token and random that
    `non_activating` asks for."""
    across_documents: Annotated[bool, ADDED_LATER] = False
    """Whether windows are cut out of whole rows and may run over the ends of documents. By default a window lies in one document, and parts
    of words at its ends are left out. Unit: yes or no."""

    def __post_init__(self) -> None:
        negative_counts(self.non_activating, self.n_non_activating)
        for name in ("n_shown", "n_validation", "n_held_out", "n_non_activating", "n_shown_non_activating"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a number of windows and must be 0 or more, got {getattr(self, name)}")

    @property
    def activating_counts(self) -> dict[Role, int]:
        """How many activating windows each role asks for."""
        return {"shown": self.n_shown, "validation": self.n_validation, "held_out": self.n_held_out}

    @property
    def shown_negative_kind(self) -> NegativeKind:
        """The kind of the silent windows that are shown."""
        if self.shown_non_activating is not None:
            return self.shown_non_activating
        shares = {self.non_activating: 1.0} if isinstance(self.non_activating, str) else self.non_activating
        asked: list[NegativeKind] = [kind for kind in HARD_KINDS if shares.get(kind, 0.0) > 0]
        return asked[0] if asked else "random"

    def negative_counts_of(self, role: Role) -> Mapping[NegativeKind, int]:
        """How many silent windows of each kind a role asks for."""
        return self._negative_counts_by_role[role]

    @cached_property
    def _negative_counts_by_role(self) -> dict[Role, Mapping[NegativeKind, int]]:
        return {
            "shown": negative_counts(self.shown_negative_kind, self.n_shown_non_activating),
            "validation": negative_counts(self.non_activating, self.n_validation),
            "held_out": negative_counts(self.non_activating, self.n_non_activating),
        }

    @property
    def negative_counts(self) -> dict[NegativeKind, int]:
        """How many silent windows of each kind all roles together ask for."""
        by_role = [self.negative_counts_of(role) for role in ROLES]
        return {kind: sum(counts[kind] for counts in by_role) for kind in NEGATIVE_KINDS}

    def asks_for(self, kind: NegativeKind) -> bool:
        """Whether a role asks for silent windows of this kind."""
        return self.negative_counts[kind] > 0

    def shape(self, context_tokens: int, first_position: int, text: SampleText | None = None) -> WindowShape:
        """The shape of the windows that these settings cut out of rows of `context_tokens`."""
        return WindowShape(self.builder, self.window_tokens, context_tokens, first_position, None if self.across_documents else text)


@dataclass(frozen=True)
class Example:
    """A window: its tokens, and the feature's activation on each token (0.0 where the feature is silent).

    `sampling` says how an activating window was drawn (quantiles, top, random or mix), or the kind of a silent window. `stratum` is the
    decile of an activating window's maximum among all windows of the feature (0 = strongest), None for a silent window. `begins_in_word`
    and `ends_in_word` say whether the window begins, and whether it ends, inside a word.
    """

    example_id: str
    feature: int
    role: Role
    kind: Kind
    sampling: str
    stratum: int | None
    row: int
    start: int
    token_ids: tuple[int, ...]
    activations: tuple[float, ...]
    begins_in_word: bool = False
    ends_in_word: bool = False


@dataclass(frozen=True)
class FeatureExamples:
    """The examples of one feature, and how the feature ended. `n_windows` counts its distinct activating windows before sampling.

    "dead" (no activation) and "too_few_windows" (fewer than `min_activating`) have no examples. "ok" has all examples that the roles ask
    for. Where the roles ask for more activating windows than there are, all windows are split in proportion to the numbers asked for, and
    the outcome is still "ok". "too_few_silent_windows" has all activating examples and all silent windows that exist (of a
    feature that is seldom silent: that exist in the lengths of its activating windows), split in proportion.
    `n_filled` counts the held-out random windows that stand in for missing windows of other kinds.
    """

    feature: int
    examples: tuple[Example, ...]
    outcome: ExamplesOutcome
    n_windows: int
    max_activation: float | None
    n_filled: int = 0


NO_PLACES = Places.joined([])


@dataclass(frozen=True, eq=False)
class ExampleColumns:
    """The examples of one feature as columns: `n_shown`, `n_validation` and `n_held_out` activating windows, then the silent windows.

    Of the silent windows the first `n_shown_non_activating` are shown, the next `n_validation_non_activating` are for validation, the rest
    is held out. `negatives` has the kind of each silent window, `strata` the stratum of each activating window. `token_ids` and
    `activations` hold the windows' tokens end to end. `max_activation` is the largest activation of each window (0.0 for a silent window).
    `cut` says whether each window begins, and whether it ends, inside a word; None where words are not known. `firing` says how often the
    feature fires; None where that is unknown.
    """

    feature: int
    outcome: ExamplesOutcome
    n_windows: int
    feature_max: float | None
    n_filled: int = 0
    n_shown: int = 0
    n_validation: int = 0
    n_held_out: int = 0
    n_shown_non_activating: int = 0
    n_validation_non_activating: int = 0
    places: Places = NO_PLACES
    strata: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    negatives: tuple[NegativeKind | Literal["imported"], ...] = ()
    imported: bool = False
    token_ids: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    activations: np.ndarray = field(default_factory=lambda: np.empty(0))
    max_activation: np.ndarray = field(default_factory=lambda: np.empty(0))
    cut: tuple[np.ndarray, np.ndarray] | None = None
    firing: FiringShares | None = None

    @property
    def cut_words(self) -> tuple[np.ndarray, np.ndarray]:
        """Bool [examples] twice: whether each example begins, and whether it ends, inside a word; False where words are not known."""
        return self.cut or (np.zeros(len(self.places), dtype=bool), np.zeros(len(self.places), dtype=bool))

    @property
    def n_activating(self) -> int:
        """Windows of all roles on which the feature fires."""
        return self.n_shown + self.n_validation + self.n_held_out

    @property
    def counts(self) -> tuple[int, int, int, int, int, int]:
        """Activating windows of each of ROLES, then silent windows of each."""
        n_held_out = len(self.negatives) - self.n_shown_non_activating - self.n_validation_non_activating
        return (
            self.n_shown, self.n_validation, self.n_held_out, self.n_shown_non_activating, self.n_validation_non_activating, n_held_out,
        )  # fmt: skip

    @property
    def roles(self) -> list[Role]:
        """Role of every example."""
        return [role for role, count in zip((*ROLES, *ROLES), self.counts, strict=True) for _ in range(count)]

    def negatives_of(self, role: Role) -> tuple[NegativeKind | Literal["imported"], ...]:
        """Kind of each silent window of a role."""
        ends = (0, self.n_shown_non_activating, self.n_shown_non_activating + self.n_validation_non_activating, len(self.negatives))
        place = ROLES.index(role)
        return self.negatives[ends[place] : ends[place + 1]]

    def labels(self, sampling: Sampling) -> list[tuple[Role, Kind, str]]:
        """Role, kind and sampling of every example. `sampling` says how shown windows were drawn; all imported examples are "imported"."""
        how = ("imported", "imported") if self.imported else (sampling, HELD_OUT_SAMPLING)
        drawn = [*[how[0]] * self.n_shown, *[how[1]] * (self.n_activating - self.n_shown), *self.negatives]
        return [
            (role, "activating" if i < self.n_activating else "non_activating", kind)
            for i, (role, kind) in enumerate(zip(self.roles, drawn, strict=True))
        ]

    def examples(self, sampling: Sampling, index: Iterable[int] | None = None) -> tuple[Example, ...]:
        """A record for every example, or for the examples at `index`."""
        bounds = np.cumsum([0, *self.places.length.tolist()]).tolist()
        labels = self.labels(sampling)
        begun, broken = self.cut_words
        found: list[Example] = []
        for i in range(len(self.places)) if index is None else index:
            role, kind, drawn = labels[i]
            row, start, span = int(self.places.row[i]), int(self.places.start[i]), slice(bounds[i], bounds[i + 1])
            found.append(
                Example(
                    f"{self.feature}/{row}/{start}", self.feature, role, kind, drawn,
                    int(self.strata[i]) if kind == "activating" else None, row, start,
                    tuple(self.token_ids[span].tolist()), tuple(self.activations[span].tolist()),
                    bool(begun[i]), bool(broken[i]),
                )
            )  # fmt: skip
        return tuple(found)


def equal_count_strata(max_activation: np.ndarray, n_strata: int) -> np.ndarray:
    """Stratum [n] of each window, 0 = strongest: ranks cut into `n_strata` groups whose sizes differ by at most one."""
    strata = np.empty(len(max_activation), dtype=np.int64)
    strata[descending(max_activation)] = np.arange(len(max_activation)) * n_strata // max(len(max_activation), 1)
    return strata
