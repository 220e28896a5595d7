"""Examples of a feature: activating and silent windows in three roles.

Shown windows are for explainers, validation windows for choosing among candidate explanations, held-out windows for scorers. Windows are
made distinct as token sequences, split once into a shown, a validation and a held-out pool, and only then sampled. So no window that an
explanation was made from or chosen by recurs, even as text, among the windows on which it is scored.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, get_args

import numpy as np

from interp_assets.domain.bounds import ADDED_LATER, Bounded
from interp_assets.domain.examples.negatives import (
    HARD_KINDS,
    NEGATIVE_KINDS,
    NegativeKind,
    SilentWindows,
    first_distinct,
    negative_counts,
    random_places,
    window_hashes,
)
from interp_assets.domain.examples.passages import SampleText
from interp_assets.domain.examples.peak_places import Placing
from interp_assets.domain.examples.windows import Builder, Places, Windows, WindowShape
from interp_assets.domain.outcomes import ExamplesOutcome
from interp_assets.domain.seeds import generator

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
    shown windows. `neighbour`: windows on which the nearest features fire. `token`: around the feature's heaviest tokens. Where a kind has
    too few windows, random windows are taken."""
    n_neighbours: Bounded = 5
    """Nearest features whose windows are `neighbour` windows. Unit: features."""
    n_peak_tokens: Bounded = 5
    """Heaviest tokens of a feature whose windows are `token` windows. Unit: tokens."""
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

    def negative_counts_of(self, role: Role) -> dict[NegativeKind, int]:
        """How many silent windows of each kind a role asks for."""
        if role == "shown":
            return negative_counts(self.shown_negative_kind, self.n_shown_non_activating)
        return negative_counts(self.non_activating, self.n_validation if role == "validation" else self.n_non_activating)

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
    the outcome is still "ok". "too_few_silent_windows" has all activating examples and all silent windows that exist, split in proportion.
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
class ActivatingDraw:
    """The activating windows of one feature, with everything that its silent windows depend on.

    `positions` int64 and `values` float64, both [n], are the feature's activations without activations that count as silence, ascending by
    position. `shape` says how its windows are cut. `windows` holds the drawn windows: first `n_shown` shown windows, then `n_validation`
    validation windows, then the held-out windows; `strata` has their strata. `active_hashes` are the hashes of the token sequences of all
    its activating windows, drawn or not. `outcome` is "ok" exactly when there are windows.
    """

    feature: int
    outcome: ExamplesOutcome
    n_windows: int
    max_activation: float | None
    positions: np.ndarray
    values: np.ndarray
    shape: WindowShape
    windows: Windows
    n_shown: int
    n_validation: int
    strata: np.ndarray
    active_hashes: np.ndarray

    def with_blocked(self, positions: np.ndarray) -> "ActivatingDraw":
        """This draw with `positions`, none of them active, counting as not silent: no silent window will contain any of them."""
        positions = positions[self.shape.usable(positions)]
        everything = np.concatenate([self.positions, positions])
        order = np.argsort(everything, kind="stable")
        values = np.concatenate([self.values, np.zeros(len(positions))])
        return replace(self, positions=everything[order], values=values[order])

    @property
    def active_cells(self) -> np.ndarray:
        """int64, ascending, distinct: the fixed cells in which the feature fires."""
        return np.unique(self.shape.cell_of(self.positions // self.shape.context_tokens, self.positions % self.shape.context_tokens))

    @property
    def shown_cells(self) -> np.ndarray:
        """int64 [n_shown]: the fixed cell that holds the peak of each shown window."""
        return self.shape.cell_of(self.windows.row[: self.n_shown], self.windows.peak_position[: self.n_shown])


@dataclass(frozen=True, eq=False)
class ExampleColumns:
    """The examples of one feature as columns: `n_shown`, `n_validation` and `n_held_out` activating windows, then the silent windows.

    Of the silent windows the first `n_shown_non_activating` are shown, the next `n_validation_non_activating` are for validation, the rest
    is held out. `negatives` has the kind of each silent window, `strata` the stratum of each activating window. `token_ids` and
    `activations` hold the windows' tokens end to end. `max_activation` is the largest activation of each window (0.0 for a silent window).
    `cut` says whether each window begins, and whether it ends, inside a word; None where words are not known.
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

    @property
    def cut_words(self) -> tuple[np.ndarray, np.ndarray]:
        """Bool [examples] twice: whether each example begins, and whether it ends, inside a word; False where words are not known."""
        return self.cut or (np.zeros(len(self.places), dtype=bool), np.zeros(len(self.places), dtype=bool))

    @property
    def n_activating(self) -> int:
        """Windows of all roles on which the feature fires."""
        return self.n_shown + self.n_validation + self.n_held_out

    @property
    def roles(self) -> list[Role]:
        """Role of every example."""
        counts = (self.n_shown_non_activating, self.n_validation_non_activating, len(self.negatives_of("held_out")))
        activating = (self.n_shown, self.n_validation, self.n_held_out)
        return [role for group in (activating, counts) for role, count in zip(ROLES, group, strict=True) for _ in range(count)]

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

    @property
    def example_ids(self) -> list[str]:
        """feature/row/start of every example."""
        return [f"{self.feature}/{row}/{start}" for row, start in zip(self.places.row.tolist(), self.places.start.tolist(), strict=True)]

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


def build_examples(
    feature_positions: np.ndarray,
    feature_values: np.ndarray,
    token_rows: np.ndarray,
    first_position: int,
    settings: ExampleSettings,
    run_seed: int,
    feature: int,
    candidates: Mapping[NegativeKind, Places] | None = None,
    text: SampleText | None = None,
) -> FeatureExamples:
    """All examples of one feature: `draw_activating`, then `with_negatives`.

    Activating examples come first, then silent examples; each kind in the order shown, validation, held out.
    """
    draw = draw_activating(feature_positions, feature_values, token_rows, first_position, settings, run_seed, feature, text)
    found = with_negatives(draw, candidates or {}, token_rows, settings, run_seed)
    examples = found.examples(settings.sampling)
    return FeatureExamples(feature, examples, found.outcome, found.n_windows, found.feature_max, found.n_filled)


def draw_activating(
    feature_positions: np.ndarray,
    feature_values: np.ndarray,
    token_rows: np.ndarray,
    first_position: int,
    settings: ExampleSettings,
    run_seed: int,
    feature: int,
    text: SampleText | None = None,
) -> ActivatingDraw:
    """The activating windows of one feature, for every role.

    `feature_positions` [n] ascending, row · context + position; `feature_values` [n] > 0; `token_rows` [rows, context];
    `first_position` is 1 where rows begin with BOS (no window contains it), else 0; `text` says what of the rows is text.
    """
    shape = settings.shape(token_rows.shape[1], first_position, text)
    positions, values = np.asarray(feature_positions, dtype=np.int64), np.asarray(feature_values, dtype=np.float64)
    usable = (values > 0) & shape.usable(positions)
    positions, values = positions[usable], values[usable]
    maximum = float(values.max()) if len(values) else None
    if maximum is not None:
        loud = values >= settings.silent_share * maximum
        positions, values = positions[loud], values[loud]
    windows = shape.windows(positions // shape.context_tokens, positions % shape.context_tokens, values)
    hashes = window_hashes(windows.row, windows.start, windows.length, token_rows)
    windows = windows.take(_strongest_of_equal_text(windows, hashes))
    n_windows = len(windows)
    enough = n_windows >= max(settings.min_activating, 2)
    outcome: ExamplesOutcome = "dead" if maximum is None else "ok" if enough else "too_few_windows"
    strata = equal_count_strata(windows.max_activation, settings.n_strata)
    picks = [np.empty(0, dtype=np.int64)] * len(ROLES)
    if outcome == "ok":
        picks = split_and_sampled(strata, windows.max_activation, settings, run_seed, feature)
    picked = np.concatenate(picks)
    drawn, n_shown, n_validation = windows.take(picked), len(picks[0]), len(picks[1])
    if shape.builder == "centred":
        rng = generator(run_seed, feature, "places of peaks")
        placing = Placing(positions, values, token_rows, shape, hashes)
        for role in (slice(n_shown + n_validation, None), slice(n_shown, n_shown + n_validation)):
            drawn, placing = placing.placed(drawn, role, rng)
        hashes = placing.hashes
    return ActivatingDraw(
        feature, outcome, n_windows, maximum, positions, values, shape, drawn, n_shown, n_validation, strata[picked], hashes
    )


def with_negatives(
    draw: ActivatingDraw,
    candidates: Mapping[NegativeKind, Places],
    token_rows: np.ndarray,
    settings: ExampleSettings,
    run_seed: int,
) -> ExampleColumns:
    """The activating windows of `draw`, then silent windows, all distinct in text.

    `candidates` offers silent windows of each kind but "random", cut to words, the hardest first. Random windows stand in for missing
    windows of a kind; `n_filled` counts them among the held-out windows. The hardest windows of a kind are shown. The next windows go to
    validation and held-out in turn, so that both roles get equally hard windows.
    """
    if draw.outcome != "ok":
        return ExampleColumns(draw.feature, draw.outcome, draw.n_windows, draw.max_activation)
    asked = [settings.negative_counts_of(role) for role in ROLES]
    silent, kinds = _silent(draw, candidates, token_rows, asked, run_seed)
    windows = Places(draw.windows.row, draw.windows.start, draw.windows.length)
    places = Places.joined([windows, *silent])
    token_ids, activations = _contents(places, draw, token_rows)
    negatives: tuple[NegativeKind, ...] = tuple(kind for of_role in kinds for kind in of_role)
    return ExampleColumns(
        feature=draw.feature,
        outcome="ok" if len(negatives) == sum(sum(counts.values()) for counts in asked) else "too_few_silent_windows",
        n_windows=draw.n_windows,
        feature_max=draw.max_activation,
        n_filled=max(kinds[-1].count("random") - asked[-1]["random"], 0),
        n_shown=draw.n_shown,
        n_validation=draw.n_validation,
        n_held_out=len(windows) - draw.n_shown - draw.n_validation,
        n_shown_non_activating=len(kinds[0]),
        n_validation_non_activating=len(kinds[1]),
        places=places,
        strata=draw.strata,
        negatives=negatives,
        token_ids=token_ids,
        activations=activations,
        max_activation=np.concatenate([draw.windows.max_activation, np.zeros(len(negatives))]),
        cut=draw.shape.is_cut(places),
    )


def _silent(
    draw: ActivatingDraw,
    candidates: Mapping[NegativeKind, Places],
    token_rows: np.ndarray,
    asked: Sequence[Mapping[NegativeKind, int]],
    run_seed: int,
) -> tuple[list[Places], list[list[NegativeKind]]]:
    """Silent windows and their kinds for each of ROLES, all distinct in text from each other and from every activating window.

    `asked` has, for each role, the number of windows of each kind that the role asks for.
    """
    taken = draw.active_hashes
    parts: list[list[Places]] = [[] for _ in ROLES]
    kinds: list[list[NegativeKind]] = [[] for _ in ROLES]
    for kind in HARD_KINDS:
        n_shown, *others = (counts[kind] for counts in asked)
        if n_shown + sum(others) == 0:
            continue
        found, hashes = first_distinct(candidates.get(kind, NO_PLACES), n_shown + sum(others), taken, token_rows)
        taken = np.concatenate([taken, hashes])
        role_of = np.zeros(len(found), dtype=np.int64)
        role_of[n_shown:] = 1 + dealt(max(len(found) - n_shown, 0), others)
        for i in range(len(ROLES)):
            parts[i].append(found.take(role_of == i))
            kinds[i].extend(kind for _ in range(len(parts[i][-1])))
    missing = [sum(counts.values()) - len(of_role) for counts, of_role in zip(asked, kinds, strict=True)]
    windows = SilentWindows.of(draw.positions, len(token_rows), draw.shape) if any(missing) else None
    for i, role in enumerate(ROLES):
        if windows is not None and missing[i]:
            rng = generator(run_seed, draw.feature, "silent" if role == "held_out" else f"silent {role}")
            found, hashes = random_places(windows, token_rows, taken, missing[i], rng)
            taken = np.concatenate([taken, hashes])
            parts[i].append(found)
            kinds[i].extend("random" for _ in range(len(found)))
    return _in_proportion([Places.joined(of_role) for of_role in parts], kinds, [sum(counts.values()) for counts in asked])


def _in_proportion(
    places: list[Places], kinds: list[list[NegativeKind]], asked: Sequence[int]
) -> tuple[list[Places], list[list[NegativeKind]]]:
    """The windows as given where every role has the number it asks for. Else all windows, split over the roles in proportion to these
    numbers.

    A role with too many windows gives its last windows away.
    """
    counts = [len(of_role) for of_role in kinds]
    if counts == list(asked):
        return places, kinds
    due = np.bincount(dealt(sum(counts), asked), minlength=len(asked)).tolist()
    place_of = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
    spare = np.concatenate([own[n:] for own, n in zip(place_of, due, strict=True)])
    joined, joined_kinds = Places.joined(places), [kind for of_role in kinds for kind in of_role]
    fair: list[np.ndarray] = []
    for own, n in zip(place_of, due, strict=True):
        lacking = max(n - len(own), 0)
        fair.append(np.concatenate([own[:n], spare[:lacking]]))
        spare = spare[lacking:]
    return [joined.take(index) for index in fair], [[joined_kinds[i] for i in index] for index in fair]


def equal_count_strata(max_activation: np.ndarray, n_strata: int) -> np.ndarray:
    """Stratum [n] of each window, 0 = strongest: ranks cut into `n_strata` groups whose sizes differ by at most one."""
    strata = np.empty(len(max_activation), dtype=np.int64)
    strata[np.argsort(-max_activation, kind="stable")] = np.arange(len(max_activation)) * n_strata // max(len(max_activation), 1)
    return strata


def dealt(n: int, counts: Sequence[int]) -> np.ndarray:
    """int64 [n]: the pool that each of n items in a row goes to, when the items are spread over pools in the proportion of `counts`.

    The first pool gets its share of any run of items to within one. Each next pool gets its share of the items that earlier pools left, to
    within one. With n >= sum(counts) every pool gets at least its count; with fewer items no pool gets more. Where all counts are 0, the
    last pool gets everything.
    """
    pool = np.full(n, len(counts) - 1)
    left = np.arange(n)
    for i, count in enumerate(counts[:-1]):
        if count == 0:
            continue
        step = np.arange(len(left) + 1) * count // sum(counts[i:])
        taken = np.diff(step) > 0
        pool[left[taken]] = i
        left = left[~taken]
    return pool


def split_windows(strata: np.ndarray, counts: Sequence[int], rng: np.random.Generator) -> list[np.ndarray]:
    """A pool of window indices, ascending, for each of `counts`: disjoint pools of all windows, in the proportion of the counts.

    Within every stratum the proportion holds as in `dealt`. With at least sum(counts) windows every pool has at least its count; with fewer
    windows all pools are short in equal proportion.
    """
    order = np.lexsort((rng.permutation(len(strata)), strata))
    pool = dealt(len(strata), counts)
    return [np.sort(order[pool == i]) for i in range(len(counts))]


def split_and_sampled(
    strata: np.ndarray, max_activation: np.ndarray, settings: ExampleSettings, run_seed: int, feature: int
) -> list[np.ndarray]:
    """For each of ROLES the indices of its windows, strongest first: windows are split once, then sampled out of the role's own pool."""
    asked = settings.activating_counts
    pools = split_windows(strata, list(asked.values()), generator(run_seed, feature, "split"))
    return [
        sample_windows(
            pool, strata, max_activation, count, settings.sampling if role == "shown" else HELD_OUT_SAMPLING, settings,
            generator(run_seed, feature, f"sample {role}"),
        )
        for (role, count), pool in zip(asked.items(), pools, strict=True)
    ]  # fmt: skip


def sample_windows(
    pool: np.ndarray,
    strata: np.ndarray,
    max_activation: np.ndarray,
    count: int,
    sampling: Sampling,
    settings: ExampleSettings,
    rng: np.random.Generator,
) -> np.ndarray:
    """`count` indices out of `pool` (the whole pool if it is smaller), strongest first, without repetition.

    "quantiles": an equal number from each stratum; the remainder, and missing windows of short strata, are drawn from the rest of the pool.
    "top": the strongest of the pool. "random": uniform. "mix": a share `mix_top_share` from the top, the rest by quantiles.
    """
    count = min(count, len(pool))
    if count == 0:
        return pool[:0]
    by_strength = pool[np.argsort(-max_activation[pool], kind="stable")]
    if sampling == "top":
        return by_strength[:count]
    n_top = round(count * settings.mix_top_share) if sampling == "mix" else 0
    top, rest = by_strength[:n_top], rng.permutation(by_strength[n_top:])
    count -= n_top
    if sampling != "random":
        per_stratum = count // settings.n_strata
        order = np.argsort(strata[rest], kind="stable")
        sorted_strata = strata[rest][order]
        place_in_stratum = np.arange(len(rest)) - np.searchsorted(sorted_strata, sorted_strata, side="left")
        first_picks = place_in_stratum < per_stratum
        rest = np.concatenate([rest[order[first_picks]], rng.permutation(rest[order[~first_picks]])])
    drawn = np.concatenate([top, rest[:count]])
    return drawn[np.argsort(-max_activation[drawn], kind="stable")]


def _strongest_of_equal_text(windows: Windows, hashes: np.ndarray) -> np.ndarray:
    """Indices, ascending, of the windows that are kept: of windows with equal tokens only the strongest."""
    order = np.argsort(-windows.max_activation, kind="stable")
    _, first = np.unique(hashes[order], return_index=True)
    return np.sort(order[first])


def _contents(places: Places, draw: ActivatingDraw, token_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and activations (0.0 in silence) of the places, end to end."""
    begin = places.row * draw.shape.context_tokens + places.start
    offset = np.concatenate([[0], np.cumsum(places.length)])
    tokens = token_rows.ravel()[np.arange(offset[-1]) + np.repeat(begin - offset[:-1], places.length)]
    low, high = np.searchsorted(draw.positions, begin), np.searchsorted(draw.positions, begin + places.length)
    held = high - low
    source = np.arange(int(held.sum())) + np.repeat(low - (np.cumsum(held) - held), held)
    activations = np.zeros(offset[-1])
    activations[draw.positions[source] - np.repeat(begin - offset[:-1], held)] = draw.values[source]
    return tokens, activations
