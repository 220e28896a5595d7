"""Parts of all scorers that ask for texts: the form of the reply, replies to texts, texts and their activations to verdicts.

A question asks for texts of one kind. The reply is a JSON object with a numbered member for each text: {"silent 1": "…", "silent 2": "…"}.
Small models do not end a list once they have begun it: hence the numbers, and hence one kind a question. An item of a trial is a text to be
written. Its example_id is "<kind>/<number>", counted from 0 within the scorer input. The texts of a reply fill the items of its trial in
order. Some back ends can hold a reply to a JSON schema; replies of all other back ends are read leniently.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any, cast

from interp_assets.domain.examples.firing_shares import at_a_start, by_chance
from interp_assets.domain.outcomes import VerdictOutcome
from interp_assets.domain.prompting.answer_lists import ParseFailure
from interp_assets.domain.prompting.final_answer import final_answer
from interp_assets.domain.prompting.rendering import encodable
from interp_assets.domain.prompting.window_texts import window_text
from interp_assets.domain.trials import AnsweredTrial, ScorerInput, TrialItem, Verdict, verdict_of

VARIANT = "generated"
MAX_OBJECTS = 20
"""Most opening braces of a reply at which a JSON object is tried; each try may read the rest of the reply."""

_MEMBER = re.compile(r"(?:^|(?<=[{,\"']))\s{0,8}[\"'*_#\- ]{0,8}([a-z]{1,20})[ _#-]{0,3}(\d{1,3})[\"'*_ ]{0,8}:", re.I | re.M)
_HEADING = re.compile(r"^(?:#{1,6}[ \t]|[ \t]{0,8}\*{2}[^*\n]{1,60}\*{2}:?[ \t]{0,8}$|[A-Z][^\n:]{0,40}:[ \t]{0,8}$)", re.M)
"""A line that begins a section of another kind."""
_REMARKED = re.compile(r"\*\*([^*\n]{1,2000})\*\*(?=[ \t]{1,4}[-–—(:])|[\"“]([^\"”\n]{1,2000})[\"”](?=[ \t]{1,4}[-–—(])")
"""A text in bold or in quotes that a remark follows."""
_LISTED = re.compile(r"^[ \t]{0,8}(?:[-*•]|\(?\d{1,3}[.):])[ \t]+(\S.*)$", re.M)
# A match without its closing quote does not count. If the pattern required it, a search would begin again at every quote on the way.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)("?)', re.S)
_SINGLE_QUOTED = re.compile(r"(?<=[\[,\s])'((?:[^'\\\n]|\\.|'(?=\w))+)('(?=\s*[,\]]))?")


def items_of(kind: str, truth: bool, first: int, n: int) -> tuple[TrialItem, ...]:
    """Items for n texts of a kind, numbered from `first`; `truth` says whether the feature should fire on these texts."""
    return tuple(TrialItem(f"{kind}/{number}", truth, None, VARIANT) for number in range(first, first + n))


def schema(kind: str, n: int) -> str:
    """JSON schema of a reply with n texts of a kind."""
    names = [_name(kind, i) for i in range(n)]
    members = {name: {"type": "string"} for name in names}
    return json.dumps({"type": "object", "properties": members, "required": names, "additionalProperties": False})


def written(kind: str, texts: Sequence[str]) -> str:
    """A reply with these texts in the form that questions ask for, one text a line."""
    return json.dumps({_name(kind, i): text for i, text in enumerate(texts)}, indent=0, ensure_ascii=False)


def parse_texts(text: str, kind: str) -> tuple[str, ...] | ParseFailure:
    """The texts of a kind in a reply, in order, empty texts left out. Reasoning is skipped.

    The first of these readings that finds a text counts:
    1. The first JSON object with texts of the kind, as numbered members or in a list.
    2. The text after each name "<kind> <n>", up to the next such name of any kind. A text whose quotes do not close is left out, since the
       reply was cut there.
    3. The section after the name of the kind, or the whole reply where the name is missing: numbered or bulleted lines, else texts in
       double quotes, else texts in single quotes. Where the name is missing, quotes count only after a bracket, since prose has quotes too.

    Fails as "empty", or as "no_list" where no text is found.
    """
    if not text.strip():
        return ParseFailure("empty")
    text = final_answer(text)
    return _from_json(text, kind) or _from_members(text, kind) or _from_section(text, kind) or ParseFailure("no_list")


def texts(answered: AnsweredTrial) -> tuple[str, ...]:
    """The texts in the reply to a trial, in their order, at most as many as the trial has items; none without a readable reply."""
    if answered.error is not None:
        return ()
    read = parse_texts(answered.text, answered.trial.items[0].example_id.split("/")[0])
    return () if isinstance(read, ParseFailure) else read[: len(answered.trial.items)]


def grade(answered: Sequence[AnsweredTrial]) -> tuple[Verdict, ...]:
    """One verdict per item of every trial, with its text; value and activation are the feature's largest activation on the text.

    A reply that cannot be read makes every item "unparsable", a reply with too few texts leaves its last items "truncated", an error makes
    all items "model_error".
    """
    return tuple(verdict for one in answered for verdict in _graded(one))


def in_windows(texts: Sequence[str], scorer_input: ScorerInput) -> list[float]:
    """The length of each text in mean lengths of the held-out windows, by characters; 1 without windows.

    A text that is twice as long as a window makes a feature fire by chance about as often as two windows do.
    """
    lengths = [len(window_text(example, scorer_input.token_texts)) for example in scorer_input.held_out]
    mean = sum(lengths) / len(lengths) if any(lengths) else 0.0
    return [len(text) / mean if mean else 1.0 for text in texts]


def chances(texts: Sequence[str], scorer_input: ScorerInput) -> list[float] | None:
    """Probability that the feature fires on each text by chance; None where its firing share is unknown.

    A text is run by itself, behind BOS. So it counts as the beginning of a context (`firing_shares.at_a_start`): a feature that fires on
    the first tokens of any context fires on a text that means nothing.
    """
    share, starts = scorer_input.firing_share, scorer_input.start_shares
    if share is None:
        return None
    return [at_a_start(share, starts, n) if starts else by_chance(share, n) for n in in_windows(texts, scorer_input)]


def mean_chance(texts: Sequence[str], scorer_input: ScorerInput) -> float | None:
    """Mean probability that the feature fires on a text by chance; None without texts, and where its firing share is unknown."""
    found = chances(texts, scorer_input)
    return sum(found) / len(found) if found else None


def _graded(answered: AnsweredTrial) -> list[Verdict]:
    trial, found = answered.trial, texts(answered)
    lacking: VerdictOutcome = "model_error" if answered.error is not None else "truncated" if found else "unparsable"
    measured = answered.activations or ()
    assert len(measured) == len(found), (trial.trial_id, found, measured)
    verdicts = [
        verdict_of(trial, i, "answered", value=float(activation), activation=float(activation), text=text)
        for i, (text, activation) in enumerate(zip(found, measured, strict=True))
    ]
    return [*verdicts, *(verdict_of(trial, i, lacking) for i in range(len(found), len(trial.items)))]


def _name(kind: str, place: int) -> str:
    """The name of the JSON member of the text at `place`."""
    return f"{kind} {place + 1}"


def _from_json(text: str, kind: str) -> tuple[str, ...]:
    """The texts in the first JSON object that has texts of the kind, and in later objects with texts of other numbers; none without."""
    decoder = json.JSONDecoder(strict=False)
    found: dict[int, str] = {}
    for opening in islice(re.finditer(r"\{", text), MAX_OBJECTS):
        try:
            content, _ = decoder.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            continue
        own = {key.lower(): _value(value) for key, value in content.items()}
        if not found and isinstance(own.get(kind), list):
            return _cleaned([text for value in own[kind] if isinstance(text := _value(value), str)])
        numbered = _numbered(own, kind)
        if not numbered.keys() & found.keys():
            found |= numbered
    return _cleaned([found[number] for number in sorted(found)])


def _value(value: Any) -> Any:
    """A member's value; of an object of one string, as {"text": "…"}, the string."""
    members: list[Any] = list(cast(dict[str, Any], value).values()) if isinstance(value, dict) else []
    return members[0] if len(members) == 1 else cast(Any, value)


def _numbered(own: Mapping[str, Any], kind: str) -> dict[int, str]:
    """The texts of a kind's numbered members by their numbers."""
    named = {match.group(1): key for key in own if (match := re.fullmatch(rf"{re.escape(kind)}[ _#-]{{0,3}}(\d{{1,3}})", key))}
    return {int(number): own[key] for number, key in named.items() if isinstance(own[key], str)}


def _from_members(text: str, kind: str) -> tuple[str, ...]:
    """The texts after the names "<kind> <n>", by number; of several texts with one number the first."""
    found: dict[int, str] = {}
    heads = list(_MEMBER.finditer(text))
    for head, following in zip_longest(heads, heads[1:]):
        if head.group(1).lower() == kind:
            found.setdefault(int(head.group(2)), _member(text[head.end() : following.start() if following else None]))
    return _worded(_cleaned([found[number] for number in sorted(found)]))


def _member(piece: str) -> str:
    """The text between a member's name and the next name; "" where its quotes do not close.

    A text in quotes ends at the first closing quote at the end of a line, or else at the last closing quote. A text without quotes is the
    first line.
    """
    piece = piece.strip().removeprefix("**").lstrip()
    if (quote := piece[:1]) in ('"', "'"):
        ended = re.match(rf"{quote}(.*?){quote}[ \t]{{0,8}}[,}}\]]{{0,3}}[ \t]{{0,8}}(?:\n|$)", piece, re.S)
        body = ended.group(1) if ended else piece[1:].rpartition(quote)[0]
        return _unescaped(body) if quote == '"' else body
    return piece.partition("\n")[0].rstrip(",*_ ").strip("*_ ")


def _from_section(text: str, kind: str) -> tuple[str, ...]:
    """The texts in the section after the name of the kind, up to the next heading, or in the whole reply where the name is missing.

    The name must stand at the head of a line or of a member, with a colon after it, or in a heading.
    """
    name = rf"[^\n:]{{0,40}}\b{re.escape(kind)}\b[^\n:]{{0,40}}"
    named = re.search(
        rf"(?:^|[{{,])[ \t]{{0,8}}[\"'*_#\d. ]{{0,8}}{re.escape(kind)}\b[^\n:]{{0,40}}:|^#{{1,6}}{name}$|^\*\*{name}\*\*[ \t]{{0,8}}$",
        text,
        re.I | re.M,
    )
    section = text[named.end() :] if named else text
    if named and (following := _HEADING.search(section)):
        section = section[: following.start()]
    if lines := _LISTED.findall(section):
        return _worded(_cleaned([_of_line(line) for line in lines]))
    listed = section if named else section[section.find("[") :] if "[" in section else ""
    return _worded(_cleaned([_unescaped(body) for body in _closed(_QUOTED, listed) or _closed(_SINGLE_QUOTED, listed)]))


def _of_line(line: str) -> str:
    """The text of a line of a list, without quotes, Markdown and a remark after it."""
    if remarked := _REMARKED.match(line.strip()):
        return remarked.group(1) or remarked.group(2)
    return line.strip().rstrip(",").strip("\"'“”*_ ")


def _closed(quoted: re.Pattern[str], text: str) -> list[str]:
    """The texts between quotes of the pattern's kind; quotes that do not close are left out."""
    return [body for body, end in quoted.findall(text) if end]


def _unescaped(body: str) -> str:
    """The value of the JSON string with this body; the body itself where that is no JSON string."""
    try:
        return str(json.loads(f'"{body}"', strict=False))
    except ValueError:
        return body


def _cleaned(found: Sequence[str]) -> tuple[str, ...]:
    """The texts without outer whitespace, empty texts left out; half of a character's escape ("\\ud83d" alone) becomes U+FFFD."""
    return tuple(encodable(text.strip()) for text in found if text.strip())


def _worded(found: Sequence[str]) -> tuple[str, ...]:
    """The texts that hold a letter or a digit; other texts between the quotes of a broken reply are its punctuation."""
    return tuple(text for text in found if any(c.isalnum() for c in text))
