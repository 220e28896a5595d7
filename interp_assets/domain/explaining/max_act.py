"""The max_act explainer: examples with their active tokens marked go in, one tagged line comes back (arXiv 2410.13928)."""

from collections.abc import Sequence
from dataclasses import dataclass

from interp_assets.domain.explaining.material import Evidence, ExplainerReply, Material, read_explanation
from interp_assets.domain.parsing import EXPLANATION_TAG
from interp_assets.domain.prompts import Prompt, Turn
from interp_assets.domain.rendering import activation_list, mark_tokens, marked_positions, token_strings
from interp_assets.domain.sampling import Example
from interp_assets.domain.trials import Explanation, ExplanationOutcome

NAME: str = "max_act"
VERSION: str = "max_act/1"


READS: frozenset[Evidence] = frozenset({"examples"})
CHOOSES: bool = False


@dataclass(frozen=True)
class MaxActSettings:
    """What the explainer is shown and may answer.

    Up to `n_shown` examples, strongest first as given; tokens at or above `threshold` of the example's maximum are marked;
    `with_activations` adds their strengths 0–10; `few_shot` worked examples (0 to 3) go before.
    """

    n_shown: int = 40
    few_shot: int = 2
    with_activations: bool = False
    threshold: float = 0.3
    max_reply_tokens: int = 100
    temperature: float = 0.0


_INSTRUCTIONS = (
    "You study one neuron of a language model. You get short texts in which the tokens that switched the neuron on stand between "
    "<< and >>.{strengths} Say what these tokens, or the places where they occur, have in common: be specific, and cover all "
    "of the texts. Reply with a single line that begins with {tag} and holds one short phrase. Do not repeat the texts."
)
_STRENGTHS = " Under each text is how strongly each token did so, from 1 to 10."

_WORKED: tuple[tuple[tuple[tuple[str, str], ...], str], ...] = (
    (
        (
            ("the ferry leaves on <<Tuesday>> at noon", '("Tuesday", 9)'),
            ("closed every <<Sunday>> in winter, and on <<Monday>> mornings", '("Sunday", 10), ("Monday", 8)'),
            ("we talked about it last <<Friday>>", '("Friday", 7)'),
        ),
        "names of days of the week",
    ),
    (
        (
            ("the pump was <<replaced>> by an electric one", '("replaced", 8)'),
            ("letters <<written>> by her uncle", '("written", 10)'),
            ("a bridge that had been <<designed>> by students", '("designed", 9)'),
        ),
        'past participles followed by "by", in passive phrases',
    ),
    (
        (
            ("for i in range<<(>>10):", '("(", 10)'),
            ("print<<(>>total)", '("(", 9)'),
        ),
        "opening parentheses of function calls in code",
    ),
)


def plan(material: Material, settings: MaxActSettings, run_seed: int) -> tuple[Prompt, ...] | ExplanationOutcome:
    """The prompt for one feature, or "no_examples" when it has none."""
    if not material.shown:
        return "no_examples"
    strengths = _STRENGTHS if settings.with_activations else ""
    head: list[Turn] = [("system", _INSTRUCTIONS.format(strengths=strengths, tag=EXPLANATION_TAG))]
    for texts, explanation in _WORKED[: settings.few_shot]:
        head.append(("user", numbered_texts(texts, settings.with_activations)))
        head.append(("assistant", f"{EXPLANATION_TAG} {explanation}"))
    texts = marked_texts(material.shown[: settings.n_shown], material, settings.threshold)
    return (
        Prompt(
            messages=(*head, ("user", numbered_texts(texts, settings.with_activations))),
            shared_messages=len(head),
            max_reply_tokens=settings.max_reply_tokens,
            temperature=settings.temperature,
            line_prefix=EXPLANATION_TAG,
        ),
    )


def grade(material: Material, replies: Sequence[ExplainerReply], settings: MaxActSettings) -> Explanation:
    """The explanation in the reply, or why there is none."""
    return read_explanation(NAME, VERSION, material, replies)


def marked_texts(examples: Sequence[Example], material: Material, threshold: float) -> list[tuple[str, str]]:
    """(text with active tokens marked, list of their strengths 0–10 of the feature's largest shown activation) of each example."""
    feature_max = max((max(example.activations) for example in material.shown), default=0.0)
    rendered = []
    for example in examples:
        tokens = token_strings(example.token_ids, material.token_texts)
        marked = marked_positions(example.activations, threshold)
        rendered.append((mark_tokens(tokens, marked), activation_list(tokens, example.activations, marked, feature_max)))
    return rendered


def numbered_texts(texts: Sequence[tuple[str, str]], with_activations: bool) -> str:
    """The texts, numbered from 1, each with its strengths below if wanted."""
    lines = []
    for number, (text, strengths) in enumerate(texts, start=1):
        lines.append(f"Text {number}: {text}")
        if with_activations:
            lines.append(f"Strengths: {strengths}")
    return "\n".join(lines)
