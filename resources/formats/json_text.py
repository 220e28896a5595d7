"""JSON that every reader takes: ASCII, no NaN or infinity, no half of a character, no NUL."""

import json
import math
import re
from typing import Any

_LONE_HALF = re.compile(r"\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}")


def json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON in ASCII. Numbers that JSON has not (NaN, infinities) become null; lone surrogates and NUL become U+FFFD.

    A backslash of a text is written as \\u005c: a reader that replaces the six characters of an escaped NUL in the JSON text, as
    Neuronpedia's importer does, would otherwise tear a text that spells the escape out.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=separators, indent=indent)
    except ValueError:
        text = json.dumps(finite(value), ensure_ascii=True, allow_nan=False, separators=separators, indent=indent)
    text = text.replace("\\\\", "\\u005c").replace("\\u0000", "\\ufffd")
    return _LONE_HALF.sub(r"\\ufffd", text) if "\\ud" in text else text


def finite(value: Any) -> Any:
    """The value with None for numbers that JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list | tuple) else value
