"""The part of all scorers that compare the likelihoods of a text in two contexts: a pair of trials to a verdict."""

import math

from interp_assets.domain.trials import AnsweredTrial, Verdict, verdict_of


def gain(own: AnsweredTrial, baseline: AnsweredTrial, **measured: object) -> Verdict:
    """The verdict on the only item of `own`. Its value, in nats, is log p of the suffix in `own` less log p of the suffix in `baseline`.

    log p is a sum over tokens. `measured` are further fields of an answered verdict. "model_error" or "no_probabilities" if one of the two
    trials ended so.
    """
    if own.error is not None or baseline.error is not None:
        return verdict_of(own.trial, 0, "model_error")
    if own.suffix_logprobs is None or baseline.suffix_logprobs is None:
        return verdict_of(own.trial, 0, "no_probabilities")
    value = math.fsum(own.suffix_logprobs) - math.fsum(baseline.suffix_logprobs)
    return (
        verdict_of(own.trial, 0, "answered", value=value, **measured)
        if math.isfinite(value)
        else verdict_of(own.trial, 0, "no_probabilities")
    )
