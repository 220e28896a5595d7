"""A feature on a reader's own text: its activations, and what the model goes on to write while the feature is steered."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from interp_assets.config.keys import lake_partition
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.seeds import generator
from interp_assets.explorer.example_search import MOST_TOKENS, activations_on
from interp_assets.explorer.explorer import Explorer, refused
from interp_assets.explorer.feature_view import range_of
from interp_assets.explorer.shading import shaded
from interp_assets.tables import FEATURE_STATISTICS
from resources.subject.hook_points import ContextTooLong

NEW_TOKENS = 24
MOST_FACTOR = 20.0
MOST_CHARACTERS = 4_000


@dataclass(frozen=True)
class TriedText:
    """A text with a feature's activations: `peak` the largest, `share` the peak as a share of the largest in the sample."""

    html: Markup
    peak: float
    share: float | None
    n_tokens: int
    n_firing: int
    was_cut: bool


@dataclass(frozen=True)
class SteeredText:
    """What the model writes after a text, clean and with the feature's direction added with `strength`; `kl` in nats at the first token."""

    clean: str
    steered: str
    strength: float
    kl: float


def tried(explorer: Explorer, record: DictionaryRecord, feature: int, text: str) -> TriedText:
    """The activations of a feature on a text, shaded up to the feature's largest activation in the sample. A page that waits while the
    model is loaded; the text's activations by all features are kept for the next feature."""
    tokens, positions, features, values, was_cut = activations_on(explorer, record, text)
    own = features == feature
    found = np.zeros(len(tokens))
    found[positions[own]] = values[own]
    most, peak = largest_in_sample(explorer, record, feature), float(found.max(initial=0))
    html = shaded(tokens, found.tolist(), max(most or 0.0, peak), whole=True)
    return TriedText(html, peak, peak / most if most else None, len(tokens), int((found > 0).sum()), was_cut)


def steered(explorer: Explorer, record: DictionaryRecord, feature: int, text: str, factor: float) -> SteeredText:
    """The clean and the steered completion of a text. `factor` is in units of the feature's largest activation in the sample, or of 1 where
    that is not known. Both completions draw the same random numbers. A page that waits while the model works."""
    if not record.reads_hook:
        refused(f"{record.key} is of kind {record.kind}: it has no weights here, so the model cannot be steered by it.")
    strength = factor * (largest_in_sample(explorer, record, feature) or 1.0)

    def work() -> SteeredText | str:
        from interp_assets.measuring.directions import decoder_rows
        from resources.subject.steerer import Interventions, Steerer

        held = explorer.models.loaded
        tokenizer = explorer.models.tokenizer(record.model.source, record.model.revision)
        subject, dictionary = held.subject(record.model), held.dictionary(record)
        rows = decoder_rows(dictionary, np.array([feature]))
        if rows is None or not bool(rows.any()):
            return f"Feature {feature} of {record.key} has no decoder direction, so the model cannot be steered by it."
        ids = tokenizer.encode(text)[-MOST_TOKENS:]
        bos = [] if subject.bos_token_id is None else [subject.bos_token_id]
        prompt = np.array([*bos, *ids.tolist()], dtype=np.int64)
        if not len(prompt):
            return "The text has no token to go on from."
        steerer, none = Steerer(subject, dictionary, 2), np.zeros(1, dtype=np.int64)
        try:
            prepared = steerer.prepare([prompt], NEW_TOKENS)
            plan = Interventions.joined(
                [Interventions.clean(none), Interventions.adding(none, np.array([feature], dtype=np.int64), np.array([strength]))]
            )
            draws = generator(0, feature, "explorer steering").random((1, NEW_TOKENS)).repeat(2, axis=0)
            clean, changed = (tokenizer.text(one) for one in steerer.completions(prepared, plan, draws))
            # A strength of 0 adds nothing; the divergence of two rows of one batch would be their rounding.
            moved = float(steerer.divergences(prepared, plan)[1]) if strength else 0.0
            return SteeredText(clean, changed, strength, moved)
        except ContextTooLong as error:
            return str(error)

    what = f"{record.model.source} is being loaded, and goes on from the text twice."
    found = explorer.ask(("steered", record.key, feature, text, strength), what, work)
    if isinstance(found, str):
        refused(found)
    return found


def largest_in_sample(explorer: Explorer, record: DictionaryRecord, feature: int) -> float | None:
    """The feature's largest activation in the sample; None where that is not known, or 0."""
    rows = explorer.rows.of(FEATURE_STATISTICS, lake_partition(range_of(record, feature)), feature, ["max_activation"])
    return (rows[0]["max_activation"] or None) if rows else None
