"""A toy vocabulary, hand-made examples and scripted judges."""

from collections.abc import Callable, Sequence

from interp_assets.domain.sampling import Example
from interp_assets.domain.trials import AnsweredTrial, Trial

WORDS = ("the", " cat", " sat", " on", " a", " mat", ",", " and", " the", " dog", " ran", " in", " snow", ".", "\n", " <b>")


def make_example(
    tokens: Sequence[int],
    activations: Sequence[float],
    role: str = "held_out",
    row: int = 0,
    stratum: int | None = 0,
) -> Example:
    kind = "activating" if any(activations) else "non_activating"
    stratum = stratum if kind == "activating" else None
    return Example(
        f"7/{row}/0", 7, role, kind, "quantiles" if stratum is not None else "random", stratum, row, 0, tuple(tokens), tuple(activations)
    )


def ask(trials: Sequence[Trial], judge: Callable[[str], float]) -> list[AnsweredTrial]:
    """Every trial answered by `judge`, a function from the text of an item to P(1)."""
    answered = []
    for trial in trials:
        texts = split_texts(trial.prompt.messages[-1][1])
        assert len(texts) == len(trial.items)
        probabilities = [judge(text) for text in texts]
        reply = str([int(p >= 0.5) for p in probabilities])
        answered.append(AnsweredTrial(trial, reply, tuple((1 - p, p) for p in probabilities)))
    return answered


def split_texts(question: str) -> list[str]:
    """The numbered texts of a question, in order."""
    pieces = []
    for number in range(1, 100):
        head, found, question = question.partition(f"\nText {number}: ")
        pieces.append(head)
        if not found:
            break
    return pieces[1:]
