"""`Lab`: the results of a home as frames, one feature at a time, and small runs."""

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from interp_assets.config.base import UserError
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.nearest import nearest_hint, nearest_words
from interp_assets.config.view_names import is_one_word, view_named
from interp_assets.installation.home import Home, refuse_misread_path
from interp_assets.notebook.frames import plain_frame

if TYPE_CHECKING:
    from interp_assets.config.records import DictionaryRecord
    from interp_assets.notebook.feature import FeatureView
    from interp_assets.single_features.run import RunResult
    from resources.model_provider import ModelProvider


Names = str | Iterable[str] | None
"""A name, several names, or None for all."""


class PartitionWarning(UserWarning):
    """An answer lacks partitions that are missing or damaged. Each such answer says so, where Python shows other warnings once."""


warnings.simplefilter("always", PartitionWarning, append=True)  # at the end, so that filters of the user's own come first


_read_in: list[int] = []
"""The process in which a lab was first read."""


def _refuse_fork() -> None:
    """Raise `UserError` in a fork of a process that has read a lab: threads of DuckDB and polars are not there, and a question would wait
    for them without end."""
    if _read_in and _read_in[0] != os.getpid():
        raise UserError(
            "this process is a fork of one that has read a lab, and DuckDB and polars would hang in it: start processes with "
            'multiprocessing.get_context("spawn") (or "forkserver"), or use threads'
        )
    _read_in[:] = [os.getpid()]


def open_lab(home: str | Path | None = None, lake: str | None = None) -> "Lab":
    """The lab of a home: the folder `home`, or the home that INTERP_HOME names. `lake` is another place of the lake, such as
    `s3://bucket/lake`.

    Reading writes nothing, so a home may be read while the UI runs over it, and from a copy that may not be written. Raises `UserError`
    for a folder that is not there.
    """
    found = Home.from_environment()
    if home is not None:
        root = Path(home).expanduser().resolve()
        refuse_misread_path(str(root))
        found = Home(root, lake or str(root / "lake"))
    elif lake is not None:
        found = replace(found, lake_url=lake)
    if not found.root.is_dir():
        raise UserError(f"there is no home {found.root}: name the folder that INTERP_HOME names, or make one with `interp register`")
    return Lab(found)


class Lab:
    """One home. Frames are polars frames; `.to_pandas()` makes pandas frames of them."""

    def __init__(self, home: Home, models: "ModelProvider | None" = None) -> None:
        self.home = home
        self._models = models

    def __reduce__(self) -> tuple[Any, ...]:
        """A lab in another process opens its own connections."""
        return Lab, (Home(self.home.root, self.home.lake_url), self._models)

    def __repr__(self) -> str:
        return f"Lab({str(self.home.root)!r}): {', '.join(self.keys) or 'no dictionaries yet'}"

    @property
    def keys(self) -> list[str]:
        """Keys of the registered dictionaries."""
        return self.home.registry.keys()

    @property
    def views(self) -> pl.DataFrame:
        """Names of views and tables, and what each answers."""
        described = self.home.warehouse.described()
        return pl.DataFrame({"name": list(described), "answers": list(described.values())})

    def sql(self, sql: str, verify: bool = False) -> pl.DataFrame:
        """The answer to SQL, or the whole of a view or table by its name. Missing partitions are named by warnings.

        With `verify` every file is compared with its checksums first. Raises `UserError` with DuckDB's own words for SQL that cannot be
        answered, and `KeyboardInterrupt` where it is interrupted.
        """
        _refuse_fork()
        import duckdb

        from resources.store.duckdb_views import RefusedStatement

        warehouse = self.home.warehouse
        view = view_named(sql, warehouse.views)
        statement = f"SELECT * FROM {view}" if view else sql
        if view is None and is_one_word(sql):
            near = ", ".join(map(repr, nearest_words(sql, warehouse.views)))
            raise UserError(f"no view is called {sql!r}{f'; did you mean {near}?' if near else '.'} `lab.views` lists them")
        try:
            answer = warehouse.query(statement, verify)
        except (duckdb.Error, RefusedStatement) as error:
            raise UserError(str(error)) from None
        for note in answer.notes:
            warnings.warn(note, PartitionWarning, stacklevel=2)
        return plain_frame(answer.rows)

    def dictionaries(self) -> pl.DataFrame:
        """The registered dictionaries."""
        return self.sql("SELECT * EXCLUDE (cost_estimates) FROM dictionaries ORDER BY dictionary")

    def scores(
        self,
        key: Names = None,
        feature: int | str | Iterable[int] | None = None,
        scorer: Names = None,
        method: Names = None,
        headline: bool = True,
    ) -> pl.DataFrame:
        """Scores of features, one row a metric: of a dictionary, of some features, by a scorer, of a method's explanations. A name may be
        a list of names.

        Without `headline=False`, only the metric that stands for its scorer.
        """
        where = self._where(key, feature, {"scorer": scorer, "explanation_method": method}) + (["headline"] if headline else [])
        return self.sql(_select("scores", where, "dictionary, feature, explanation_method, scorer, metric, stratum"))

    def explanations(
        self, key: Names = None, feature: int | str | Iterable[int] | None = None, method: Names = None
    ) -> pl.DataFrame:  # fmt: skip
        """Explanations of features, one row a feature and method; a feature without an explanation has its outcome. A name may be a list
        of names."""
        return self.sql(_select("explanations", self._where(key, feature, {"explanation_method": method}), "ALL"))

    def examples(self, key: Names, feature: int | str | Iterable[int]) -> pl.DataFrame:
        """The windows of features, strongest first within each role and kind."""
        return self.sql(_select("examples", self._where(key, feature, {}), "feature, role DESC, kind, max_activation DESC, example_id"))

    def feature(self, key: str, feature: int) -> "FeatureView":
        """One feature, which shows itself in a notebook. Raises `UserError` where the dictionary does not select it."""
        _refuse_fork()
        from interp_assets.notebook.feature import FeatureView
        from interp_assets.single_features.card import read_card

        number = AskedFeatures.of(feature).named
        if len(number) != 1:
            raise UserError(f"feature is {feature!r}; lab.feature shows one feature, such as 404")
        return FeatureView(read_card(self.home, key, number[0]))

    def register(self, sae: Any, *, model: str, hook: str | None = None, key: str | None = None, check: bool = True, **record: Any) -> str:
        """Register a SAELens SAE from memory, and return its key. Further fields of the record may be named, such as
        `token_sample={"corpus": ["text:notes/*.txt"], "n_tokens": 200_000}`.

        The SAE is saved into the home as files named by their content, so that data versions hold. Registering equal weights again changes
        nothing. With `check`, the model is loaded and the SAE tried on it first.
        """
        from interp_assets.notebook.saved_sae import register_sae

        return register_sae(self.home, sae, model=model, hook=hook, key=key, check=check, fields=record)

    def run(
        self, key: str, features: int | str | Iterable[int] | None = None, only: str | Sequence[str] = (), replace: bool = False
    ) -> "RunResult":
        """Make explanations and scores in this process, as `interp run` does: of some features or of all, or of some assets;
        `features="firing:10"` takes ten features that fire often enough. Raises `UserError` with the errors of the stages that failed."""
        _refuse_fork()
        from interp_assets.single_features.firing import asked_or_firing
        from interp_assets.single_features.plan import PlannedRun, planned_run
        from interp_assets.single_features.progress import BarWatcher, bars
        from interp_assets.single_features.run import RunResult, run_here
        from resources.kept_models import KeptModels
        from resources.model_provider import RealModels

        models = KeptModels(self._models or RealModels())
        names = [only] if isinstance(only, str) else list(only)

        def made(planned: PlannedRun) -> RunResult:
            for note in planned.notes:
                print(note)
            if planned.is_empty:
                return RunResult((), 0, 0.0)
            with bars() as drawn:
                result = run_here(self.home, planned, models, BarWatcher(drawn), print)
            if not result.succeeded:
                raise UserError("\n".join(result.errors) + "\nwhat is finished is kept: the same call makes only what is missing")
            return result

        wanted = asked_or_firing(self.home, key, features, models, made)
        return made(planned_run(self.home, key, wanted, names, models, replace))

    def record(self, key: str) -> "DictionaryRecord":
        """The record of a dictionary."""
        return self.home.registry.get(key)

    def _where(self, key: Names, feature: int | str | Iterable[int] | None, equal: dict[str, Names]) -> list[str]:
        """Conditions of SQL. Raises `UserError` for a key that is not registered, an unknown name, and what is no feature."""
        found = []
        for column, asked in {**equal, "dictionary": key}.items():
            if asked is None:
                continue
            for name in (names := _names(column, asked)):
                if column == "dictionary":
                    self.home.registry.get(name)
                else:
                    _check_name(column, name)
            found.append(f"{column} IN ({', '.join(map(_quoted, names))})" if names else "false")
        if feature is not None:
            found.append(_feature_condition(AskedFeatures.of(feature)))
        return found


def _feature_condition(asked: AskedFeatures) -> str:
    """A condition of SQL that holds for the features that are asked for."""
    parts = [f"feature BETWEEN {first} AND {last}" for first, last in asked.intervals]
    if asked.named:
        parts.append(f"feature IN ({', '.join(map(str, asked.named))})")
    return f"({' OR '.join(parts) or 'false'})"


def _names(column: str, asked: str | Iterable[str]) -> list[str]:
    """The names that are asked for: a name, or a list of names. Raises `UserError` for what is no text."""
    names = list(asked) if isinstance(asked, Iterable) and not isinstance(asked, str) else [asked]
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise UserError(f"{wrong[0]!r} is no name of a {column.replace('_', ' ')}: names are texts, or lists of texts")
    return names


def _check_name(column: str, name: str) -> None:
    """Raise `UserError` for a scorer or an explanation method that there is none of."""
    from interp_assets.domain.explaining import METHODS
    from interp_assets.domain.scoring import SCORERS

    known = [one.NAME for one in SCORERS] if column == "scorer" else [*METHODS, "none"]
    if name not in known:
        raise UserError(f"there is no {column.replace('_', ' ')} {name!r}{nearest_hint(name, known)}; there are {', '.join(known)}")


def _select(table: str, where: Sequence[str], order: str) -> str:
    return f"SELECT * FROM {table}" + (f" WHERE {' AND '.join(where)}" if where else "") + f" ORDER BY {order}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
