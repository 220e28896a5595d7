"""Draws the silent windows of features beside their activating windows: the examples are then whole.

Several features are drawn together, as in `drawing`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np

from interp_assets.domain.examples.apart import Spans, first_apart
from interp_assets.domain.examples.drawing import ActivatingDraw, WindowedSample, draw_activating, drawn_together
from interp_assets.domain.examples.lengths import SELDOM_SILENT, as_long_as
from interp_assets.domain.examples.negatives import HARD_KINDS, NegativeKind, first_distinct
from interp_assets.domain.examples.passages import SampleText
from interp_assets.domain.examples.peak_places import owned
from interp_assets.domain.examples.role_draws import dealt
from interp_assets.domain.examples.sampling import (
    NO_PLACES,
    ROLES,
    ExampleColumns,
    ExampleSettings,
    FeatureExamples,
)
from interp_assets.domain.examples.silent_windows import SilentWindows
from interp_assets.domain.examples.text_hashes import HashedTokens, HashSet
from interp_assets.domain.examples.windows import Places
from interp_assets.domain.seeds import generators

RANDOM: NegativeKind = "random"
MOST_LOOKED_AT = 100_000
"""Most random silent windows that are looked at for windows of the right lengths."""


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

    Activating examples come first, then silent examples; each kind in the order shown, validation, held out. `token_rows` [rows, context];
    `first_position` is 1 where rows begin with BOS (no window contains it), else 0; `text` says what of the rows is text.
    """
    sample = WindowedSample.of(token_rows, settings.shape(token_rows.shape[1], first_position, text))
    draws = draw_activating([(feature, feature_positions, feature_values)], sample, settings, run_seed)
    (found,) = with_negatives(draws, [candidates or {}], sample, settings, run_seed)
    examples = found.examples(settings.sampling)
    return FeatureExamples(feature, examples, found.outcome, found.n_windows, found.feature_max, found.n_filled)


def with_negatives(
    draws: Sequence[ActivatingDraw],
    candidates: Sequence[Mapping[NegativeKind, Places]],
    sample: WindowedSample,
    settings: ExampleSettings,
    run_seed: int,
) -> list[ExampleColumns]:
    """The activating windows of each of `draws`, then silent windows, all distinct in text.

    `candidates` offers for each draw silent windows of each kind but "random", cut to words, the hardest first. Random windows stand in for
    missing windows of a kind; `n_filled` counts them among the held-out windows. The hardest windows of a kind are shown. The next windows
    go to validation and held-out in turn, so that both roles get equally hard windows. Windows of a feature that is seldom silent are as
    long as its activating windows (`lengths`).
    """
    groups = drawn_together([len(draw.positions) for draw in draws])
    return [found for group in groups for found in _with_negatives(draws[group], candidates[group], sample, settings, run_seed)]


def _with_negatives(
    draws: Sequence[ActivatingDraw],
    candidates: Sequence[Mapping[NegativeKind, Places]],
    sample: WindowedSample,
    settings: ExampleSettings,
    run_seed: int,
) -> list[ExampleColumns]:
    """`with_negatives` of features that are drawn together."""
    found = [ExampleColumns(draw.feature, draw.outcome, draw.n_windows, draw.max_activation) for draw in draws]
    able = [i for i, draw in enumerate(draws) if draw.outcome == "ok"]
    asked = [settings.negative_counts_of(role) for role in ROLES]
    n_asked = [sum(counts.values()) for counts in asked]
    counts = [len(draws[i].positions) for i in able]
    positions = np.concatenate([np.empty(0, dtype=np.int64), *(draws[i].positions for i in able)])
    windows = SilentWindows.of(sample.units, np.repeat(np.arange(len(able)), counts), positions, len(able))
    seldom = windows.totals < SELDOM_SILENT * sample.units.numbers_before[-1]
    like = [draws[i].scored.length if seldom[place] else NO_PLACES.length for place, i in enumerate(able)]
    silent = [_Silent.hard(draws[i], candidates[i], sample, asked, like[place]) for place, i in enumerate(able)]
    _add_random(silent, windows, sample, n_asked, like, run_seed)
    parts = [part.in_proportion(n_asked) for part in silent]
    drawn = [Places(one.draw.windows.row, one.draw.windows.start, one.draw.windows.length) for one in parts]
    everything = Places.joined([places for windows, one in zip(drawn, parts, strict=True) for places in (windows, *one.places)])
    token_ids, activations = _contents(everything, parts, sample)
    begun, broken = sample.shape.is_cut(everything)
    tokens_before = np.concatenate([[0], np.cumsum(everything.length)]).tolist()
    first = 0
    for i, one in zip(able, parts, strict=True):
        draw, n_silent = one.draw, [len(kinds) for kinds in one.kinds]
        end = first + len(draw.windows) + sum(n_silent)
        tokens = slice(tokens_before[first], tokens_before[end])
        found[i] = ExampleColumns(
            feature=draw.feature,
            outcome="ok" if sum(n_silent) == sum(n_asked) else "too_few_silent_windows",
            n_windows=draw.n_windows,
            feature_max=draw.max_activation,
            n_filled=max(one.kinds[-1].count("random") - asked[-1]["random"], 0),
            n_shown=draw.n_shown,
            n_validation=draw.n_validation,
            n_held_out=len(draw.windows) - draw.n_shown - draw.n_validation,
            n_shown_non_activating=n_silent[0],
            n_validation_non_activating=n_silent[1],
            places=Places(everything.row[first:end], everything.start[first:end], everything.length[first:end]),
            strata=draw.strata,
            negatives=(*one.kinds[0], *one.kinds[1], *one.kinds[2]),
            token_ids=token_ids[tokens],
            activations=activations[tokens],
            max_activation=np.concatenate([draw.windows.max_activation, np.zeros(sum(n_silent))]),
            cut=(begun[first:end], broken[first:end]),
        )
        first = end
    return found


@dataclass(frozen=True, eq=False)
class _Silent:
    """The silent windows of one draw and their kinds, for each of ROLES; the hashes of the texts of all windows; and where all windows that
    are drawn lie."""

    draw: ActivatingDraw
    places: list[Places]
    kinds: list[list[NegativeKind]]
    hashes: np.ndarray
    spans: Spans

    @classmethod
    def hard(
        cls,
        draw: ActivatingDraw,
        candidates: Mapping[NegativeKind, Places],
        sample: WindowedSample,
        asked: Sequence[Mapping[NegativeKind, int]],
        like: np.ndarray,
    ) -> "_Silent":
        """The silent windows of all kinds but "random", distinct in text from each other and from every activating window, and without a
        token in common with each other or with a drawn window.

        `asked` has, for each role, the number of windows of each kind that the role asks for. `like` has lengths that the windows are to
        have (`as_long_as`); empty for any lengths.
        """
        taken = draw.active_hashes
        spans = _spans(Places(draw.windows.row, draw.windows.start, draw.windows.length), 0, sample)
        parts: list[list[Places]] = [[] for _ in ROLES]
        kinds: list[list[NegativeKind]] = [[] for _ in ROLES]
        for kind in HARD_KINDS:
            n_shown, *others = (counts[kind] for counts in asked)
            if n_shown + sum(others) == 0:
                continue
            offered, n_asked = candidates.get(kind, NO_PLACES), n_shown + sum(others)
            found, hashes = first_distinct(offered, len(offered), taken, sample.hashed)
            new = np.flatnonzero(first_apart(_spans(found, 0, sample), spans))
            new = new[as_long_as(found.length[new], like, n_asked, sample.shape.window_tokens)]
            found, hashes = found.take(new), hashes[new]
            taken, spans = np.concatenate([taken, hashes]), Spans.joined([spans, _spans(found, 0, sample)])
            role_of = np.zeros(len(found), dtype=np.int64)
            role_of[n_shown:] = 1 + dealt(np.zeros(max(len(found) - n_shown, 0), dtype=np.int64), others)
            for i in range(len(ROLES)):
                parts[i].append(found.take(role_of == i))
                kinds[i].extend(repeat(kind, len(parts[i][-1])))
        return cls(draw, [Places.joined(of_role) if of_role else NO_PLACES for of_role in parts], kinds, taken, spans)

    def in_proportion(self, asked: Sequence[int]) -> "_Silent":
        """The windows as given where every role has the number it asks for. Else all windows, split over the roles in proportion to these
        numbers.

        A role with too many windows gives its last windows away.
        """
        counts = [len(of_role) for of_role in self.kinds]
        if counts == list(asked):
            return self
        due = np.bincount(dealt(np.zeros(sum(counts), dtype=np.int64), asked), minlength=len(asked)).tolist()
        place_of = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
        spare = np.concatenate([own[n:] for own, n in zip(place_of, due, strict=True)])
        joined, joined_kinds = Places.joined(self.places), [kind for of_role in self.kinds for kind in of_role]
        fair: list[np.ndarray] = []
        for own, n in zip(place_of, due, strict=True):
            lacking = max(n - len(own), 0)
            fair.append(np.concatenate([own[:n], spare[:lacking]]))
            spare = spare[lacking:]
        return replace(self, places=[joined.take(index) for index in fair], kinds=[[joined_kinds[i] for i in index] for index in fair])


def _add_random(
    silent: Sequence[_Silent],
    windows: SilentWindows,
    sample: WindowedSample,
    asked: Sequence[int],
    like: Sequence[np.ndarray],
    run_seed: int,
) -> None:
    """Give every role random silent windows, out of all `windows` of these features, for the windows that it lacks, `asked` having the
    number that each role asks for: distinct in text from each other and from all windows there are, apart from all that are drawn, and of
    lengths `like`."""
    lacking = [[n - len(kinds) for n, kinds in zip(asked, one.kinds, strict=True)] for one in silent]
    some = [i for i, missing in enumerate(lacking) if any(missing)]
    if not some:
        return
    owner = np.repeat(some, [len(silent[i].hashes) for i in some])
    taken = [HashSet.of(owned(np.concatenate([silent[i].hashes for i in some]), owner))]
    n_places = sample.hashed.rows.size
    drawn = [Spans(silent[i].spans.begin + i * n_places, silent[i].spans.end + i * n_places) for i in some]
    for r, role in enumerate(ROLES):
        wanting = [i for i in some if lacking[i][r]]
        purpose = "silent" if role == "held_out" else f"silent {role}"
        rngs = generators(run_seed, [silent[i].draw.feature for i in wanting], purpose)
        wanted = [lacking[i][r] for i in wanting]
        found, hashes = random_places(windows, wanting, wanted, taken, Spans.joined(drawn), sample.hashed, rngs, [like[i] for i in wanting])
        taken.append(HashSet.of(hashes))
        for i, places in zip(wanting, found, strict=True):
            drawn.append(_spans(places, i, sample))
            silent[i].places[r] = Places.joined([silent[i].places[r], places]) if len(silent[i].places[r]) else places
            silent[i].kinds[r].extend(repeat(RANDOM, len(places)))


def random_places(
    windows: SilentWindows,
    owners: Sequence[int],
    counts: Sequence[int],
    taken: Sequence[HashSet],
    drawn: Spans,
    hashed: HashedTokens,
    rngs: Sequence[np.random.Generator],
    like: Sequence[np.ndarray] | None = None,
) -> tuple[list[Places], np.ndarray]:
    """For each of the features `owners` at most its count of its silent windows, drawn without replacement by its own generator; fewer
    where fewer exist. And the hashes (`owned`) of all these windows.

    A feature's windows are distinct in text, and none has the text of a window in `taken`: several sets of hashes (`owned`). No
    window shares a token with another or with a window that is `drawn`. A
    feature with lengths `like` gets windows of these lengths (`as_long_as`), for which at most MOST_LOOKED_AT windows are looked at.
    """
    places: list[Places] = [NO_PLACES] * len(owners)
    all_hashes: list[np.ndarray] = [np.empty(0, dtype=np.uint64)]
    totals = windows.totals.tolist()
    size = windows.units.shape.window_tokens
    n_drawn = [min(totals[owner], 2 * count) for owner, count in zip(owners, counts, strict=True)]
    waiting = list(range(len(owners)))
    while waiting:
        numbers: list[np.ndarray] = [
            rngs[k].choice(totals[owners[k]], size=n_drawn[k], replace=False) if n_drawn[k] else np.empty(0, dtype=np.int64)
            for k in waiting
        ]
        found = windows.at([owners[k] for k in waiting], numbers, [rngs[k] for k in waiting])
        whose = np.repeat(np.array([owners[k] for k in waiting]), [len(part) for part in numbers])
        hashes = owned(hashed.of_runs(found.row * hashed.rows.shape[1] + found.start, found.length), whose)
        is_new = HashSet.of(hashes).is_first
        for some in taken:
            is_new &= ~some.holds(hashes)
        fresh = np.flatnonzero(is_new)
        spans = Spans.of(whose, found.row * hashed.rows.shape[1] + found.start, found.length, hashed.rows.size)
        is_new[fresh] = first_apart(spans.take(fresh), drawn)
        ends = np.cumsum([len(part) for part in numbers]).tolist()
        again: list[int] = []
        for k, end, part in zip(waiting, ends, numbers, strict=True):
            new = end - len(part) + np.flatnonzero(is_new[end - len(part) : end])
            lengths = like[k] if like is not None else found.length[:0]
            new = new[as_long_as(found.length[new], lengths, counts[k], size)]
            most = min(totals[owners[k]], MOST_LOOKED_AT) if len(lengths) else totals[owners[k]]
            if len(new) < counts[k] and n_drawn[k] < most:
                n_drawn[k] = min(totals[owners[k]], 4 * n_drawn[k])
                again.append(k)
                continue
            places[k] = found.take(new)
            all_hashes.append(hashes[new])
        waiting = again
    return places, np.concatenate(all_hashes)


def _spans(places: Places, owner: int, sample: WindowedSample) -> Spans:
    """Where windows of a feature lie."""
    return Spans.of(owner, places.row * sample.shape.context_tokens + places.start, places.length, sample.hashed.rows.size)


def _contents(places: Places, parts: Sequence[_Silent], sample: WindowedSample) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and activations (0.0 in silence) of all windows of `parts`, end to end: of each part first its activating windows."""
    begin = places.row * sample.shape.context_tokens + places.start
    offset = np.concatenate([[0], np.cumsum(places.length)])
    tokens = sample.flat.take(np.arange(int(offset[-1])) + np.repeat(begin - offset[:-1], places.length))
    activations = np.zeros(offset[-1])
    if not parts:
        return tokens, activations
    n_windows = [len(one.draw.windows) for one in parts]
    n_all = [n + sum(map(len, one.kinds)) for n, one in zip(n_windows, parts, strict=True)]
    firsts = np.cumsum([0, *n_all[:-1]])
    index = np.arange(sum(n_windows)) + np.repeat(firsts - np.cumsum([0, *n_windows[:-1]]), n_windows)
    moved = np.repeat(np.arange(len(parts)), n_windows) * len(sample.flat)
    positions = np.concatenate([one.draw.positions + i * len(sample.flat) for i, one in enumerate(parts)])
    values = np.concatenate([one.draw.values for one in parts])
    low = np.searchsorted(positions, begin[index] + moved)
    held = np.searchsorted(positions, begin[index] + moved + places.length[index]) - low
    source = np.arange(int(held.sum())) + np.repeat(low - (np.cumsum(held) - held), held)
    activations[positions[source] - np.repeat(begin[index] + moved - offset[index], held)] = values[source]
    return tokens, activations
