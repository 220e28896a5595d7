"""`interp explore --export`: a copy of the pages as files that any web server shows, or a browser by itself from a folder.

The same page functions render the copy. Addresses in a page begin with `/`, and become relative paths. A link whose page is not in the copy
loses its address. The folder appears whole or not at all.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from interp_assets.assets.warehouse.views import view_files
from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.public_places import public_place
from interp_assets.explorer import links
from interp_assets.explorer.app import make_app
from interp_assets.explorer.columns import FeatureColumns
from interp_assets.explorer.explorer import Explorer, Waiting
from interp_assets.explorer.feature_table import TableQuery, rows_at, shown_scorers
from interp_assets.explorer.pages import home, leaderboards, report
from interp_assets.explorer.pages.dictionary import distributions
from interp_assets.explorer.pages.feature import as_json, feature_values
from interp_assets.explorer.requests import HERE, page
from resources.store.whole_folders import FolderTaken, whole_folder

MARK = "interp-site.json"
"""Says that a folder is an earlier copy, which another export may replace."""

LISTED = 1_000
"""Features on one page of a dictionary."""

SAID_EVERY = 100
PATIENCE_SECONDS = 3600.0
POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src 'self' file: data:; font-src 'self' file:; "
    "form-action 'self' file:; base-uri 'none'"
)
ADDRESS = re.compile(r' (href|src|action)="(/[^"]*)"')


@dataclass(frozen=True)
class Site:
    """What is exported: the features of each dictionary, ascending."""

    features: Mapping[str, Sequence[int]]

    @cached_property
    def _known(self) -> dict[str, frozenset[int]]:
        return {key: frozenset(features) for key, features in self.features.items()}

    def file_of(self, address: str) -> str | None:
        """The file of an address; None where it is not in the copy."""
        path = unquote(urlsplit(address).path)
        fixed = {"/": "index.html", "/search": "search.html", "/leaderboards": "leaderboards/index.html", "/report": "report.html"}
        if path in fixed:
            return fixed[path]
        if path.startswith("/static/"):
            return path[1:]
        if path.startswith("/leaderboards/"):
            name = path.split("/")[2]
            known = name.removesuffix(".csv") in view_files()
            return f"leaderboards/{name if name.endswith('.csv') else name + '.html'}" if known else None
        return self._in_dictionary(path.split("/")[2:]) if path.startswith("/d/") else None

    def _in_dictionary(self, parts: Sequence[str]) -> str | None:
        key, rest = "/".join(parts[:3]), list(parts[3:])
        if key not in self.features:
            return None
        if not rest:
            return f"d/{key}/index.html"
        number, _, kind = rest[0].partition(".")
        if not number.isdecimal() or int(number) not in self._known[key]:
            return None
        ends = {(): ".html", ("embed",): "/embed.html"}
        end = ".json" if kind == "json" and len(rest) == 1 else ends.get(tuple(rest[1:])) if not kind else None
        return None if end is None else f"d/{key}/{number}{end}"

    def page(self, html: str, file: str) -> str:
        """A page as it stands in the file: with relative addresses, and its own policy."""
        up = "../" * file.count("/")

        def relative(match: re.Match[str]) -> str:
            address = unescape(match[2])
            target, fragment = self.file_of(address), urlsplit(address).fragment
            return "" if target is None else f' {match[1]}="{up}{target}{"#" + fragment if fragment else ""}"'

        policy = f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        return ADDRESS.sub(relative, html).replace('<meta charset="utf-8">', policy, 1)


def export_site(
    explorer: Explorer,
    folder: Path,
    dictionaries: Sequence[str],
    features: AskedFeatures | None,
    say: Callable[[str], None],
) -> int:
    """Write the copy into `folder`, and return the number of its feature pages.

    `features` are written of each dictionary; None stands for all features that the lake knows.

    An earlier copy in the folder is replaced when the new one is whole. Raises `UserError` for a dictionary or feature that is not there,
    and for a folder that holds other files.
    """
    explorer = replace(explorer, rater=None, exported=True)
    try:
        columns = {key: _columns(explorer, key) for key in dictionaries or sorted(explorer.home.registry.read_all()[0])}
        if not columns:
            raise UserError("this home has no dictionary to export. Register one first: interp register")
        site = Site({key: _chosen(key, known, features) for key, known in columns.items()})
        with whole_folder(folder, _is_copy) as aside:
            for file, content in _files(explorer, site, columns, say):
                path = aside / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            shutil.copytree(HERE / "static", aside / "static", dirs_exist_ok=True)
            n = sum(map(len, site.features.values()))
            (aside / MARK).write_text(json.dumps({"dictionaries": list(site.features), "features": n}))
        for path, why in explorer.left_out().items():
            say(f"left out: {path}: {why}; interp backfill makes it again")
    except FolderTaken as error:
        raise UserError(str(error)) from None
    finally:
        explorer.close()
    return n


def _columns(explorer: Explorer, key: str) -> FeatureColumns:
    try:
        explorer.record(key)
    except HTTPException as error:
        raise UserError(str(error.detail)) from None
    return explorer.dictionaries.columns(key, patience=PATIENCE_SECONDS)


def _chosen(key: str, columns: FeatureColumns, features: AskedFeatures | None) -> list[int]:
    """The features of a dictionary that are written: of an interval such as 0-999, the features that the lake knows."""
    known = columns.features
    if features is None:
        return known.tolist()
    if missing := features.absent(known):
        raise UserError(f"{key} has no feature {', '.join(map(str, missing[:5]))} in the lake: {len(known):,} features are known")
    chosen = features.among(known).tolist()
    if not chosen:
        some = f": {', '.join(map(str, known[:5].tolist()))}, …" if len(known) else ""
        raise UserError(f"{key} has none of the features asked for; {len(known):,} of its features are in the lake{some}")
    return chosen


def _files(
    explorer: Explorer, site: Site, columns: Mapping[str, FeatureColumns], say: Callable[[str], None]
) -> Iterator[tuple[str, bytes]]:
    """Every file of the copy but those of `static/`: its path and content."""
    app = make_app(explorer)

    hidden = _local_models(explorer)

    def written(file: str, response: Response) -> tuple[str, bytes]:
        content = bytes(response.body).decode()
        for place in hidden:
            content = content.replace(place, public_place(place))
        return file, (site.page(content, file) if file.endswith(".html") else content).encode()

    yield written("index.html", home.show(_request(app, links.HOME)))
    yield written("search.html", page(_request(app, links.search()), "site_search.html"))
    yield "static/search-data.js", _search_data(site, columns).encode()
    yield written("leaderboards/index.html", leaderboards.index(_request(app, links.LEADERBOARDS)))
    for name in view_files():
        found = _settled(leaderboards.show, _request(app, links.leaderboard(name), view=name))
        if found is not None:
            yield written(f"leaderboards/{name}.html", found)
            yield written(f"leaderboards/{name}.csv", leaderboards.as_csv(_request(app, f"{links.leaderboard(name)}.csv", view=name)))
    found = _settled(report.show, _request(app, links.REPORT))
    if found is not None:
        yield written("report.html", found)
    done, total = 0, sum(map(len, site.features.values()))
    for key, features in site.features.items():
        for file, listed in _listings(app, explorer, key, columns[key], features):
            yield written(file, listed)
        for place in range(len(features)):
            for file, response in _feature(app, key, features, place):
                yield written(file, response)
            done += 1
            if done % SAID_EVERY == 0 or done == total:
                say(f"{done:,} of {total:,} features written")


def _feature(app: Starlette, key: str, features: Sequence[int], place: int) -> Iterator[tuple[str, Response]]:
    number = features[place]
    model, layer, name = key.split("/")
    request = _request(app, links.feature(key, number), model=model, layer=layer, name=name, feature=number)
    values = feature_values(request)
    values["before"] = features[place - 1] if place else None
    values["after"] = features[place + 1] if place + 1 < len(features) else None
    yield f"d/{key}/{number}.html", page(request, "feature.html", **values)
    yield f"d/{key}/{number}/embed.html", page(request, "embed.html", **values)
    yield f"d/{key}/{number}.json", as_json(request)


def _listings(
    app: Starlette, explorer: Explorer, key: str, columns: FeatureColumns, features: Sequence[int]
) -> Iterator[tuple[str, Response]]:
    """The pages with the exported features of a dictionary."""
    record = explorer.record(key)
    places = [place for feature in features if (place := columns.place_of(feature)) is not None]
    query = TableQuery.of({}, columns)
    pages = [places[first : first + LISTED] for first in range(0, max(1, len(places)), LISTED)]
    for number, own in enumerate(pages):
        rows = rows_at(columns, query, np.array(own, dtype=np.int64))
        request = _request(app, links.dictionary(key))
        shown = page(
            request, "site_dictionary.html", key=key, record=record, row=home.dictionary_row(explorer, record), query=query,
            scorers=shown_scorers(columns, query), rows=rows, number=number, n_pages=len(pages),
            n_features=len(places), distributions=distributions(explorer, record, columns, query.method) if number == 0 else [],
        )  # fmt: skip
        yield f"d/{key}/{'index' if number == 0 else f'page-{number + 1}'}.html", shown


def _local_models(explorer: Explorer) -> list[str]:
    """Language models that lie in folders of this machine, as the lake names them: a copy says their last name alone."""
    found = explorer.home.warehouse.query("SELECT DISTINCT model FROM cost_by_method").rows.column("model").to_pylist()
    return sorted({place for place in found if place and public_place(place) != place}, key=len, reverse=True)


def _search_data(site: Site, columns: Mapping[str, FeatureColumns]) -> str:
    """A program that defines every exported explanation, since a page from a folder may read no other file."""
    found = {key: _explained(columns[key], features) for key, features in site.features.items()}
    content = json.dumps(found, ensure_ascii=True).replace("<", "\\u003c")
    return f'"use strict";\nwindow.INTERP_FEATURES = {content};\n'


def _explained(columns: FeatureColumns, features: Iterable[int]) -> list[tuple[int, str]]:
    return [(feature, said) for feature in features if (said := columns.title_of(feature)) is not None]


def _settled(show: Callable[[Request], Response], request: Request) -> Response | None:
    """The answer of a page that may have to wait first; None where it has none."""
    while True:
        try:
            return show(request)
        except Waiting:
            continue
        except HTTPException:
            return None


def _request(app: Starlette, path: str, **params: Any) -> Request:
    """A request for a page, as a server would make it."""
    return Request(
        {
            "type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "app": app, "path_params": params,
            "scheme": "http", "server": ("127.0.0.1", 80),
        }
    )  # fmt: skip


def _is_copy(folder: Path) -> bool:
    """Whether a folder is an earlier copy, which another export may replace."""
    return (folder / MARK).is_file()
