"""Tables of ratings by people, and of how scores go with them."""

from typing import get_args

import pyarrow as pa

from interp_assets.domain.outcomes import AgreementOutcome, CorrelationOutcome, PairOutcome, RatedOutcome
from interp_assets.tables.columns import DICTIONARY, FEATURE, KEY, SCORER, Table, column

EXPLANATION_ID = column("explanation_id", pa.string(), "content address of dictionary, feature and text; says nothing of the method")
EXPLANATION_METHODS = column("explanation_methods", pa.list_(pa.string()), "methods that wrote just this text of the feature")
RATER_KIND = column("rater_kind", KEY, "human | generated (by a model or a script; never counted as people)")
N_FEATURES = column("n_features", pa.uint32(), "features that these are of: what bootstraps draw")

HUMAN_RATINGS = Table(
    "human_ratings", "one rating of one explanation by one rater", (), ("rater", "dictionary", "feature", "explanation_id", "context"),
    pa.schema([
        column("rater", KEY, "who rated: a name or code"),
        RATER_KIND, DICTIONARY, FEATURE, EXPLANATION_ID,
        column("explanation", pa.string(), "text"),
        EXPLANATION_METHODS,
        column("context", pa.string(), "window that was rated; null where the explanation was rated as a whole", True),
        column("scale_min", pa.float64(), "lowest value of the scale"),
        column("scale_max", pa.float64(), "highest value of the scale"),
        column("rating", pa.float64(), "as the rater gave it, scale_min to scale_max"),
        column("normalised", pa.float64(), "(rating - scale_min) / (scale_max - scale_min), 0 to 1"),
        column("seconds", pa.float64(), "seconds it took; null where the file does not say", True),
        column("source", pa.string(), "file and line; in brackets, what the row itself names as its source"),
    ]),
    written_by="human_ratings",
)  # fmt: skip
REJECTED_RATINGS = Table(
    "rejected_ratings", "one thing wrong with a row of a rating file", (), ("file", "line", "column"),
    pa.schema([
        column("file", pa.string(), "file in the folder of ratings"),
        column("line", pa.uint32(), "its line, of a JSON object the entry; 0 where the whole file is meant"),
        column("column", pa.string(), "column; row or file where it is not one"),
        column("value", pa.string(), "what stands there"),
        column("allowed", pa.string(), "what may stand there"),
    ]),
    written_by="human_ratings",
)  # fmt: skip
RATED_EXPLANATIONS = Table(
    "rated_explanations", "one rated explanation with the mean of its ratings", (), ("dictionary", "feature", "explanation_id"),
    pa.schema([
        DICTIONARY, FEATURE, EXPLANATION_ID,
        column("explanation", pa.string(), "text"),
        EXPLANATION_METHODS, RATER_KIND,
        column("rating", pa.float64(), "mean normalised rating, 0 to 1: over raters, then contexts; null for too_few_contexts", True),
        column("n_ratings", pa.uint32(), "ratings that it is the mean of"),
        column("n_raters", pa.uint32(), "raters"),
        column("n_contexts", pa.uint32(), "contexts; 0 where the explanation was rated as a whole"),
        column("outcome", KEY, "ok | too_few_contexts | baseline (shuffled or constant: left out of correlations) | not_scored"),
    ]),
    written_by="human_correlation_report",
    outcomes=get_args(RatedOutcome),
)  # fmt: skip
HUMAN_CORRELATIONS = Table(
    "human_correlations", "one correlation of one scorer with the mean ratings", (), ("scope", "scope_value", "scorer", "statistic"),
    pa.schema([
        RATER_KIND,
        column("scope", KEY, "all | layer | dictionary"),
        column("scope_value", pa.string(), "which layer (model and layer) or dictionary; empty for all"),
        SCORER,
        column("statistic", KEY, "spearman[_corrected_for_attenuation | _partial_layer | _partial_dictionary] | pearson | kendall_tau_b"),
        column("value", pa.float64(), "point value, -1 to 1 (corrected ones may exceed 1); null unless the outcome is ok", True),
        column("ci_low", pa.float64(), "2.5 % bound, bootstrap over features", True),
        column("ci_high", pa.float64(), "97.5 % bound", True),
        column("n_explanations", pa.uint32(), "rated explanations that the scorer scored"),
        N_FEATURES,
        column("smallest_detectable", pa.float64(), "Spearman correlation that so many features show with probability 0.8", True),
        column("place_low", pa.uint16(), "best place among scorers that the pairs leave open, 1 = nearest to people; scope all only", True),
        column("place_high", pa.uint16(), "worst such place", True),
        column("outcome", KEY, "ok | too_few_features | constant | one_group | one_rater | no_reliability"),
    ]),
    written_by="human_correlation_report",
    outcomes=get_args(CorrelationOutcome),
)  # fmt: skip
SCORER_PAIRS = Table(
    "scorer_pairs", "two scorers on the rated explanations that both scored", (), ("scorer", "other"),
    pa.schema([
        RATER_KIND, SCORER,
        column("other", KEY, "the other scorer"),
        column("spearman", pa.float64(), "of their scores with each other; null unless the outcome is ok", True),
        column("spearman_ci_low", pa.float64(), "2.5 % bound, bootstrap over features", True),
        column("spearman_ci_high", pa.float64(), "97.5 % bound", True),
        column("difference", pa.float64(), "Spearman of scorer with the ratings less that of other; null unless the outcome is ok", True),
        column("ci_low", pa.float64(), "2.5 % bound of the difference, paired bootstrap over features", True),
        column("ci_high", pa.float64(), "97.5 % bound", True),
        column("p", pa.float64(), "two-sided bootstrap p value of no difference", True),
        column("p_adjusted", pa.float64(), "after Holm over all pairs", True),
        column("differ", pa.bool_(), "is p_adjusted below 0.05"),
        column("smallest_detectable", pa.float64(), "difference that this study shows with probability 0.8", True),
        column("n_explanations", pa.uint32(), "rated explanations that both scored"),
        N_FEATURES,
        column("outcome", KEY, "ok | too_few_features | constant"),
    ]),
    written_by="human_correlation_report",
    outcomes=get_args(PairOutcome),
)  # fmt: skip
RATER_AGREEMENT = Table(
    "rater_agreement", "one measure of how far raters agree", (), ("measure", "rater"),
    pa.schema([
        RATER_KIND,
        column("measure", KEY, "krippendorff_alpha_ordinal | krippendorff_alpha_interval | spearman_with_the_others"),
        column("rater", pa.string(), "rater, for spearman_with_the_others; null otherwise", True),
        column("value", pa.float64(), "point value; null unless the outcome is ok", True),
        column("ci_low", pa.float64(), "2.5 % bound, bootstrap over features", True),
        column("ci_high", pa.float64(), "97.5 % bound", True),
        column("n_raters", pa.uint32(), "raters"),
        column("n_explanations", pa.uint32(), "explanations that at least two of them rated"),
        column("n_values", pa.uint32(), "raters' means of these explanations"),
        column("outcome", KEY, "ok | one_rater | constant | too_few_features"),
    ]),
    written_by="human_correlation_report",
    outcomes=get_args(AgreementOutcome),
)  # fmt: skip
