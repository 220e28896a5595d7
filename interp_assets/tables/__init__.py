"""One Arrow schema per table: grain, keys, units. Everything that the platform knows is in these tables.

A table's folder in the lake is `<name>/<partition column>=<value>/…/part-0.parquet`; the partition columns are columns of the file too.
"""

from interp_assets.tables.activations import ACTIVATIONS, DICTIONARY_SAMPLES, DOCUMENTS, FEATURE_STATISTICS, TOKEN_SAMPLES
from interp_assets.tables.columns import Table
from interp_assets.tables.examples import DICTIONARY_EMBEDDINGS, EXAMPLES, FEATURE_EXAMPLES, WINDOW_EMBEDDINGS
from interp_assets.tables.explanations import EXPLANATION_EMBEDDINGS, EXPLANATIONS, IMPORTED_EXPLANATIONS, IMPORTED_SUCCESSES
from interp_assets.tables.features import (
    FEATURE_MATCHES,
    FEATURE_NEIGHBOURS,
    STEERED_SETS,
    STEERED_TEXTS,
    STEERING,
    TOKEN_CHANGES,
    VOCABULARY_PROJECTIONS,
)
from interp_assets.tables.ratings import (
    HUMAN_CORRELATIONS,
    HUMAN_RATINGS,
    RATED_EXPLANATIONS,
    RATER_AGREEMENT,
    REJECTED_RATINGS,
    SCORER_PAIRS,
)
from interp_assets.tables.scores import LEDGER, REPEATED_SCORES, SCORE_VARIANCES, SCORER_VALIDITY, SCORES, TRIALS, VERDICTS

SCHEMA_VERSION = 9
"""Version of all the schemas of these tables. A lake of another version is refused, with what to do."""

TABLES: tuple[Table, ...] = (
    TOKEN_SAMPLES,
    DOCUMENTS,
    DICTIONARY_SAMPLES,
    ACTIVATIONS,
    FEATURE_STATISTICS,
    FEATURE_NEIGHBOURS,
    WINDOW_EMBEDDINGS,
    DICTIONARY_EMBEDDINGS,
    VOCABULARY_PROJECTIONS,
    TOKEN_CHANGES,
    STEERING,
    STEERED_TEXTS,
    STEERED_SETS,
    FEATURE_EXAMPLES,
    EXAMPLES,
    IMPORTED_EXPLANATIONS,
    IMPORTED_SUCCESSES,
    EXPLANATIONS,
    EXPLANATION_EMBEDDINGS,
    FEATURE_MATCHES,
    TRIALS,
    VERDICTS,
    SCORES,
    LEDGER,
    REPEATED_SCORES,
    SCORE_VARIANCES,
    SCORER_VALIDITY,
    HUMAN_RATINGS,
    REJECTED_RATINGS,
    RATED_EXPLANATIONS,
    HUMAN_CORRELATIONS,
    SCORER_PAIRS,
    RATER_AGREEMENT,
)
