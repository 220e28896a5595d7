"""The two axes of the graph: which dictionary, and which share of its features."""

import dagster as dg

from interp_assets.config.keys import FEATURE_RANGE_KEYS

DICTIONARIES = dg.DynamicPartitionsDefinition(name="dictionary")
FEATURE_RANGES = dg.StaticPartitionsDefinition(list(FEATURE_RANGE_KEYS))
DICTIONARY_BY_RANGE = dg.MultiPartitionsDefinition({"dictionary": DICTIONARIES, "feature_range": FEATURE_RANGES})

SUBJECT_POOL = "gpu_subject"
EXPLAINER_POOL = "gpu_explainer"
POOLS = (SUBJECT_POOL, EXPLAINER_POOL)
"""Dagster pools that keep two models from sharing a GPU; each pool runs one step at a time, see dagster.yaml."""

ON_A_CARD = {"dagster-ray/config": {"num_gpus": 1}}
"""Tags of a step that runs the subject model: where steps are Ray jobs, the step has a GPU of its own. Elsewhere the tags have no
effect."""
