"""A dictionary of the stand-in subject with everything that exports read, made once for the tests of all exports."""

from installation import KEY, STAGES, Installation

from interp_assets.config.settings import PlatformSettings

METHODS = ("max_act", "shuffled")
SCORERS = ("detection", "embedding")


def published_installation(root, corpus) -> Installation:
    """An installation whose dictionary has examples, neighbours, projections, explanations by two methods and scores of four scorers."""
    made = Installation(root, corpus)
    stages = {**STAGES, "explanations": list(METHODS), "scores": dict.fromkeys(SCORERS, "all")}
    made.register(
        made.record(stages=stages, features=tuple(range(0, 64, 5)), description="neurons <script>alert(1)</script> of a stand-in")
    )
    made.run("token_sample", "activation_shards", "feature_neighbours")
    made.run("examples", "vocabulary_projections", *(f"explanations/{name}" for name in METHODS))
    made.run(*(f"scores/{name}" for name in SCORERS))
    return made


__all__ = ["KEY", "METHODS", "SCORERS", "PlatformSettings", "published_installation"]
