"""What the scorers share that have texts written: the form of the reply, replies to texts, texts and their activations to verdicts.

The reply is a JSON object that holds a list of texts for each kind that is asked for, such as {"activating": ["…"], "silent": ["…"]}. An
item of a trial is a text to be written: its example_id is "<kind>/<number>", counted within the case, and the texts of a kind fill its
items in order. Back ends that can hold a reply to a JSON schema do; what others write is read leniently.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice

from interp_assets.domain.parsing import ParseFailure, without_reasoning
from interp_assets.domain.rendering import encodable
from interp_assets.domain.trials import AnsweredTrial, Trial, TrialItem, Verdict, verdict_of

VARIANT = "generated"
MAX_OBJECTS = 20
"""Beginnings of JSON objects that are looked at in a reply: trying each costs its length."""

_LISTED = re.compile(r"^[ \t]{0,8}(?:[-*•]|\(?\d{1,3}[.):])[ \t]+(\S.*)$", re.M)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
_SINGLE_QUOTED = re.compile(r"(?<=[\[,\s])'((?:[^'\\\n]|\\.|'(?=\w))+)'(?=\s*[,\]])")


def items_of(kind: str, truth: bool, first: int, n: int) -> tuple[TrialItem, ...]:
    """Items for n texts of a kind, numbered from `first`; `truth` says whether the feature should fire on them."""
    return tuple(TrialItem(f"{kind}/{number}", truth, None, VARIANT) for number in range(first, first + n))


def schema(kinds: Sequence[str], n: int) -> str:
    """Canonical JSON schema of a reply with n texts of each kind."""
    texts = {"type": "array", "items": {"type": "string"}, "minItems": n, "maxItems": n}
    content = {"type": "object", "properties": {k: texts for k in kinds}, "required": list(kinds), "additionalProperties": False}
    return json.dumps(content, sort_keys=True)


def written(texts: Mapping[str, Sequence[str]]) -> str:
    """A reply with these texts, in the form asked for."""
    return json.dumps({kind: list(own) for kind, own in texts.items()}, ensure_ascii=False)


def parse_texts(text: str, kinds: Sequence[str]) -> dict[str, tuple[str, ...]] | ParseFailure:
    """The texts of each kind in a reply, in order, empty ones left out.

    Read is the first JSON object that has a list for every kind. Without one, what follows the name of each kind (a single kind may go
    without its name): numbered or bulleted lines, else what stands in double quotes, else in single ones. Fails as "empty", or "no_list"
    where not a single text is found. Reasoning is passed over.
    """
    if not text.strip():
        return ParseFailure("empty")
    text = without_reasoning(text)
    found = _from_json(text, kinds) or _from_sections(text, kinds)
    return found if any(found.values()) else ParseFailure("no_list")


def texts_of_items(answered: AnsweredTrial) -> tuple[str | None, ...] | ParseFailure:
    """The text of each item of a trial that was answered, None where the reply has too few of its kind."""
    kinds = [item.example_id.split("/")[0] for item in answered.trial.items]
    read = parse_texts(answered.text, tuple(dict.fromkeys(kinds)))
    if isinstance(read, ParseFailure):
        return read
    given = {kind: iter(own) for kind, own in read.items()}
    return tuple(next(given[kind], None) for kind in kinds)


def texts(answered: AnsweredTrial) -> tuple[str, ...]:
    """The texts of a trial's items, those that there are, in the order of the items; none without a readable reply."""
    read = texts_of_items(answered) if answered.error is None else ()
    return () if isinstance(read, ParseFailure) else tuple(text for text in read if text is not None)


def grade(answered: Sequence[AnsweredTrial]) -> tuple[Verdict, ...]:
    """One verdict per item of every trial, with its text, and the feature's largest activation on it as value and activation.

    A reply that cannot be read makes every item "unparsable", one with too few texts leaves items "truncated", an error makes all
    "model_error".
    """
    return tuple(verdict for one in answered for verdict in _graded(one))


def _graded(answered: AnsweredTrial) -> list[Verdict]:
    trial: Trial = answered.trial
    if answered.error is not None:
        return [verdict_of(trial, i, "model_error") for i in range(len(trial.items))]
    read = texts_of_items(answered)
    if isinstance(read, ParseFailure):
        return [verdict_of(trial, i, "unparsable") for i in range(len(trial.items))]
    n_texts = sum(text is not None for text in read)
    assert answered.activations is not None and len(answered.activations) == n_texts, (trial.trial_id, n_texts, answered.activations)
    measured = iter(answered.activations)
    verdicts = []
    for i, text in enumerate(read):
        if text is None:
            verdicts.append(verdict_of(trial, i, "truncated"))
        else:
            activation = float(next(measured))
            verdicts.append(verdict_of(trial, i, "answered", value=activation, activation=activation, text=text))
    return verdicts


def _from_json(text: str, kinds: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """The texts in the first JSON object with a list for every kind; None without one."""
    decoder = json.JSONDecoder(strict=False)
    for opening in islice(re.finditer(r"\{", text), MAX_OBJECTS):
        try:
            content, _ = decoder.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            continue
        own = {str(key).lower(): value for key, value in content.items()}
        if all(isinstance(own.get(kind), list) for kind in kinds):
            return {kind: _cleaned([value for value in own[kind] if isinstance(value, str)]) for kind in kinds}
    return None


def _from_sections(text: str, kinds: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The texts after the name of each kind, up to the next name or the end."""
    heads = {kind: head for kind in kinds if (head := _head(kind).search(text))}
    if not heads and len(kinds) == 1:
        return {kinds[0]: _listed(text)}
    ends = sorted(head.start() for head in heads.values())
    return {
        kind: _listed(text[heads[kind].end() : next((end for end in ends if end > heads[kind].start()), None)]) if kind in heads else ()
        for kind in kinds
    }


def _head(kind: str) -> re.Pattern[str]:
    """The name of a kind where it begins a section: at the head of a line or of a member of an object, and with a colon after it."""
    return re.compile(rf"(?:^|[{{,])[ \t]{{0,8}}[\"'*_#\d. ]{{0,8}}{re.escape(kind)}\b[^\n:]{{0,40}}:", re.I | re.M)


def _listed(section: str) -> tuple[str, ...]:
    """The texts in a section: numbered or bulleted lines, else quoted strings."""
    if lines := _LISTED.findall(section):
        return _cleaned([line.strip().rstrip(",").strip("\"'“”*_ ") for line in lines])
    return _cleaned([_unescaped(body) for body in _QUOTED.findall(section) or _SINGLE_QUOTED.findall(section)])


def _unescaped(body: str) -> str:
    """What a JSON string says; the string as it stands where it is none."""
    try:
        return str(json.loads(f'"{body}"', strict=False))
    except ValueError:
        return body


def _cleaned(found: Sequence[str]) -> tuple[str, ...]:
    """The texts without outer whitespace, empty ones left out; half of a character's escape ("\\ud83d" alone) becomes U+FFFD."""
    return tuple(encodable(text.strip()) for text in found if text.strip())
