"""The input of explainers about a feature, the replies to their prompts, and how a tagged explanation is read out of a reply."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from interp_assets.domain.examples.sampling import Example
from interp_assets.domain.prompting.answer_lists import ParseFailure
from interp_assets.domain.prompting.rendering import TokenTexts
from interp_assets.domain.prompting.tagged_explanation import parse_tagged_explanation
from interp_assets.domain.trials import Explanation

Reads = Literal["examples", "feature_statistics", "vocabulary_projections", "token_changes", "steering"]


@dataclass(frozen=True)
class TokenChanges:
    """The effect of clamping a feature to `strength`: (token, mean change of its logit), most changed first."""

    strength: float
    raised: tuple[tuple[str, float], ...]
    lowered: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class SteeredPrompt:
    """A prompt's text, and the next tokens that steering makes likelier: (token, rise of its probability), the largest rise first."""

    text: str
    raised: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ExplainerInput:
    """Everything that an explainer may look at about one feature. Parts that are not in the explainer's READS are left empty.

    `shown` are the feature's activating examples, strongest first, `contrast` its silent examples. `validation` are examples of both kinds,
    for choosing among explanations. Scorers use none of these examples. `promoted` and `suppressed` are (token, logit) over the vocabulary,
    strongest first. `top_token` is the token with the largest part of the feature's activation mass, `top_token_share` that part as a
    share. `clamped` holds the changes at a strength above 0, then at its negative. `steered` are the prompts for explainers, at one
    divergence.
    """

    feature: int
    shown: tuple[Example, ...]
    token_texts: TokenTexts
    contrast: tuple[Example, ...] = ()
    validation: tuple[Example, ...] = ()
    promoted: tuple[tuple[str, float], ...] = ()
    suppressed: tuple[tuple[str, float], ...] = ()
    top_token: str | None = None
    top_token_share: float | None = None
    clamped: tuple[TokenChanges, ...] = ()
    steered: tuple[SteeredPrompt, ...] = ()


@dataclass(frozen=True)
class ExplainerReply:
    """A reply to one prompt of an explainer; `error` is set when no reply came."""

    text: str
    error: str | None = None


def read_explanation(method: str, version: str, explainer_input: ExplainerInput, replies: Sequence[ExplainerReply]) -> Explanation:
    """The explanation in the only reply: the tagged line, or the outcome "model_error", "unparsable" (no tag) or "empty" (an empty tag)."""
    (reply,) = replies
    if reply.error is not None:
        return Explanation(explainer_input.feature, method, None, "model_error", reply.text, version)
    read = parse_tagged_explanation(reply.text)
    if isinstance(read, ParseFailure):
        outcome = "unparsable" if read.reason == "no_tag" else "empty"
        return Explanation(explainer_input.feature, method, None, outcome, reply.text, version)
    return Explanation(explainer_input.feature, method, read, "ok", reply.text, version)
