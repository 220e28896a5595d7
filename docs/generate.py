"""Prints what the pages take from the code: docs/settings.md, docs/columns.md, tables of docs/tables.md and docs/real-runs.md.

    python docs/generate.py            # writes them
    python docs/generate.py --check    # status 1, naming the pages that differ from the code

The meaning of a setting is the docstring below its field; `Unit: tokens.` at its end says the unit.
"""

import ast
import functools
import inspect
import itertools
import json
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from real_runs import disk_table, judge_table, subject_table

from interp_assets.config.records import DictionaryRecord
from interp_assets.config.settings import PlatformSettings, StageSettings
from interp_assets.tables import TABLES, Table

DOCS = Path(__file__).parent
BOUNDS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "any value"}
PRINTED = "<!-- Printed by docs/generate.py from the code: change the code and run it again. -->"

RECORD = "A dictionary's record"

SETTINGS_HEAD = f"""{PRINTED}
# Settings

A site says what holds for all its dictionaries in `$INTERP_HOME/settings.yaml`. A dictionary's record says what holds for that
dictionary; its block `stages:` is laid over the block `stages:` of the site, key by key. Both refuse unknown keys and values out of
range, and name the key. An absent file means the defaults, which are the defaults of the papers.

A partition is stale, and is made again by the next backfill, where a setting that can change its result changed. Settings that change
only speed or memory (`batch_rows`, `concurrency` and the like) make nothing stale.

"—" as a default means that nothing is set. Where the type is a block, the block's own table follows below.
"""


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def is_settings(type_: Any) -> bool:
    """Whether a type is a class of settings."""
    return isinstance(type_, type) and (issubclass(type_, BaseModel) or is_dataclass(type_))


@functools.cache
def field_docstrings(cls: type) -> dict[str, str]:
    """The docstring below each field of a class, its bases' fields among them, on one line."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__[:-1]):
        if not is_settings(one) or one is BaseModel or not inspect.get_annotations(one):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0].body  # type: ignore[attr-defined]
        for item, after in itertools.pairwise(body):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(text, str):
                found[item.target.id] = " ".join(text.split())
    return found


def default_of(cls: type, name: str) -> tuple[bool, Any]:
    """Whether a field must be given, and its default otherwise."""
    if issubclass(cls, BaseModel):
        field = cls.model_fields[name]
        return field.is_required(), None if field.is_required() else field.get_default(call_default_factory=True)
    field = next(field for field in fields(cls) if field.name == name)
    if field.default_factory is not MISSING:
        return False, field.default_factory()
    return field.default is MISSING, field.default


def key_of(cls: type, name: str) -> str:
    """How a file writes a field's name."""
    return (cls.model_fields[name].alias or name) if issubclass(cls, BaseModel) else name


def bounds_of(metadata: Any) -> str:
    """The range that annotations set, such as " ≥ 1"; empty where they set none."""
    flat = [one for item in metadata for one in (item.metadata if isinstance(item, FieldInfo) else (item,))]
    limits = [f"{sign} {limit_text(getattr(one, name))}" for one in flat for kind, (sign, name) in BOUNDS.items() if isinstance(one, kind)]
    limits = [limit.replace("inf", "∞") for limit in limits if limit != "< inf"]
    return (" " + ", ".join(limits) if limits else "") + (", not empty" if any(isinstance(one, MinLen) for one in flat) else "")


def limit_text(limit: float) -> str:
    """A limit as people read it: 10,000,000, 0.5, and large powers of two as powers."""
    if isinstance(limit, int) and limit > 1 << 34 and limit & (limit - 1) == 0:
        return f"2^{limit.bit_length() - 1}"
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:,g}"


def type_text(type_: Any) -> str:
    """A type in words: whole number ≥ 1, `a` or `b`, list of text, block."""
    if get_origin(type_) is Annotated:
        inner, *metadata = get_args(type_)
        return type_text(inner) + bounds_of(metadata)
    if get_origin(type_) is Literal:
        return " or ".join(f"`{one}`" for one in get_args(type_))
    if get_origin(type_) in (Union, types.UnionType):
        return " or ".join(type_text(one) for one in get_args(type_) if one is not types.NoneType)
    if get_origin(type_) in (tuple, list):
        return f"list of {type_text(get_args(type_)[0])}"
    if get_origin(type_) is dict:
        return f"mapping of {type_text(get_args(type_)[0])} to {type_text(get_args(type_)[1])}"
    return "block" if is_settings(type_) else NAMES[type_]


def value_text(value: Any) -> str:
    """A default as YAML writes it."""
    if value is None:
        return "—"
    if is_settings(type(value)):
        return "its own"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_yaml(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, str):
        return json.dumps(value) if re.search(r"[:,#\[\]{}] |[:,]$", value) else value
    return f"{value:,}".replace(",", "_") if isinstance(value, int) else f"{value:g}"


def settings_in(type_: Any) -> Iterator[tuple[type, str]]:
    """The settings classes in a type, and "[]" for the elements of a list."""
    if is_settings(type_):
        yield type_, ""
    for one in get_args(type_):
        for cls, path in settings_in(one):
            yield cls, ("[]" if get_origin(type_) is tuple else "") + path


def blocks(root: type, path: str = "") -> Iterator[tuple[str, type]]:
    """The path and class of every block below a class of settings, in the order of its fields."""
    for name, hint in get_type_hints(root, include_extras=True).items():
        for cls, element in settings_in(hint):
            below = f"{path}.{key_of(root, name)}".lstrip(".") + element
            yield below, cls
            yield from blocks(cls, below)


def keys_table(cls: type) -> str:
    """The table of a class's own keys. Raises ValueError for a key that does not say what it means, or a number without a unit."""
    documented = field_docstrings(cls)
    rows = ["| key | type | default | unit | meaning |", "|---|---|---|---|---|"]
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if name.startswith("_"):
            continue  # kept by the class for itself, and no key
        meaning, _, unit = documented.get(name, "").partition("Unit: ")
        inner = [one for one, _ in settings_in(hint)]
        if not meaning and inner:
            meaning = (inspect.getdoc(inner[0]) or "").partition("\n\n")[0].replace("\n", " ")
        type_ = type_text(hint)
        if not meaning or ("number" in type_ and "mapping" not in type_ and not unit):
            raise ValueError(f"{cls.__qualname__}.{name} has no meaning or, being a number, no unit: write them below the field")
        required, default = default_of(cls, name)
        shown = "must be given" if required else value_text(default)
        meaning = re.sub(r"(?<![\w/(\[])([a-z-]+\.md)", r"[\1](\1)", meaning.strip())
        rows.append(f"| `{key_of(cls, name)}` | {type_} | {shown} | {unit.rstrip('.') or '—'} | {meaning} |")
    return "\n".join(rows) if len(rows) > 2 else "This block has no keys."


def sections(root: type, path: str = "") -> str:
    """A section for each block below a class; blocks of one class share a section."""
    paths: dict[type, list[str]] = {}
    for place, cls in blocks(root, path):
        paths.setdefault(cls, []).append(place)
    parts = []
    for cls, places in paths.items():
        about = inspect.getdoc(cls) or ""
        heading = ", ".join(f"`{place}`" for place in places)
        if sum(places == others for others in paths.values()) > 1:  # one key with several forms, each told by its first key
            heading += f" by `{key_of(cls, next(iter(get_type_hints(cls))))}`"
        parts.append(f"### {heading}\n\n{about}\n\n{keys_table(cls)}\n")
    return "\n".join(parts)


def settings_page() -> str:
    """docs/settings.md."""
    parts = [SETTINGS_HEAD]
    roots = (("`settings.yaml`", PlatformSettings, ""), ("`stages`", StageSettings, "stages"), (RECORD, DictionaryRecord, ""))
    for heading, root, path in roots:
        parts.append(f"## {heading}\n\n{inspect.getdoc(root)}\n\n{keys_table(root)}\n\n{sections(root, path)}")
    return "\n".join(parts)


def column_row(field: pa.Field) -> str:
    """The row of one column."""
    type_ = "string" if pa.types.is_dictionary(field.type) else str(field.type).replace("element: ", "").replace("item: ", "")
    meaning = (field.metadata or {}).get(b"unit", b"").decode().replace("|", "\\|")
    return f"| `{field.name}` | `{type_}` | {'yes' if field.nullable else ''} | {meaning} |"


def columns_of(table: Table) -> str:
    """The section of one table."""
    folders = "/".join([table.name, *(f"{name}=…" for name in table.partition_columns), "part-0.parquet"])
    rows = "\n".join(map(column_row, table.schema))
    keys = ", ".join(f"`{name}`" for name in table.keys)
    return (
        f"## `{table.name}`\n\nOne row is {table.grain}. A row is identified by {keys}. Files: `{folders}`.\n\n"
        f"| column | type | may be null | meaning, unit |\n|---|---|---|---|\n{rows}\n"
    )


def columns_page() -> str:
    """docs/columns.md."""
    head = f"{PRINTED}\n# Columns of every table\n\nWho writes each table, the views and the outcomes are in [tables.md](tables.md).\n"
    return "\n".join([head, *map(columns_of, TABLES)])


def tables_list() -> str:
    """The table of tables in docs/tables.md."""
    rows = ["| table | one row is | written by | partitioned by |", "|---|---|---|---|"]
    for table in TABLES:
        writers = ", ".join(f"`{writer}`" for writer in table.written_by.split(", "))
        partitions = ", ".join(table.partition_columns) or "—"
        rows.append(f"| `{table.name}` ([columns](columns.md#{slug(table.name)})) | {table.grain} | {writers} | {partitions} |")
    return "\n".join(rows)


def with_block(text: str, marker: str, block: str) -> str:
    """`text` with the Markdown table behind `<!-- marker -->` replaced. Raises ValueError where the marker does not stand once."""
    before, found, after = text.partition(f"<!-- {marker} -->\n")
    if not found or f"<!-- {marker} -->" in after:
        raise ValueError(f"<!-- {marker} --> must stand once in the page")
    rest = after[re.match(r"(\|.*\n)*", after).end() :]  # type: ignore[union-attr]
    return f"{before}{found}{block}\n{rest}"


def real_runs_page(text: str) -> str:
    """docs/real-runs.md with its three tables computed anew."""
    for marker, block in (("harvest", subject_table()), ("judging", judge_table()), ("disk", disk_table())):
        text = with_block(text, marker, block)
    return text


def pages() -> dict[Path, str]:
    """Every page that is printed, whole or in part, with what it should hold."""
    tables, runs = DOCS / "tables.md", DOCS / "real-runs.md"
    return {
        DOCS / "settings.md": settings_page(),
        DOCS / "columns.md": columns_page(),
        tables: with_block(tables.read_text(), "tables", tables_list()),
        runs: real_runs_page(runs.read_text()),
    }


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check only compare them; 1 where one differs."""
    stale = [path for path, content in pages().items() if not path.exists() or path.read_text() != content]
    if "--check" not in arguments:
        for path in stale:
            path.write_text(pages()[path])
        print(f"wrote {', '.join(path.name for path in stale) or 'nothing: all pages are current'}")
        return 0
    for path in stale:
        print(f"{path} differs from the code: run python docs/generate.py", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
