"""One home as the pages of the explorer read it, and the answers that end a page early."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException

from interp_assets.config.base import UserError
from interp_assets.config.keys import RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.explorer.background import Background
from interp_assets.explorer.columns import Dictionaries, FeatureColumns
from interp_assets.explorer.model_desk import Busy, ModelDesk, StillWorking
from interp_assets.explorer.readiness import NotReadYet
from interp_assets.explorer.view_answers import ViewAnswers
from interp_assets.installation.home import Home
from interp_assets.reading.feature_rows import FeatureRows
from interp_assets.tables import EXPLANATION_EMBEDDINGS
from resources.dictionaries.interface import DictionaryError
from resources.model_provider import ModelProvider, RealModels
from resources.subject.hook_points import UnknownHook
from resources.weights import WeightsError

T = TypeVar("T")
EXPORTED_GROUPS = 256
"""Row groups that an export keeps in memory: it goes from feature to feature, and neighbours share a row group."""

DAGSTER = "http://127.0.0.1:3000"


@dataclass(frozen=True)
class Explorer:
    """What the pages of one explorer read, and who sits before them. `rater` is the name under which ratings are kept; None: read only.
    `exported`: the pages are written into files, where nothing can be asked."""

    home: Home
    dagster: str = DAGSTER
    rater: str | None = None
    exported: bool = False
    provider: ModelProvider = field(default_factory=RealModels)
    _making: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    @cached_property
    def rows(self) -> FeatureRows:
        """Rows of single features."""
        return FeatureRows(self.home.lake, kept_groups=EXPORTED_GROUPS if self.exported else 0)

    @cached_property
    def dictionaries(self) -> Dictionaries:
        """Columns of whole dictionaries."""
        return Dictionaries(self.home.warehouse, self.prepared)

    @cached_property
    def views(self) -> ViewAnswers:
        """Answers of the warehouse's views."""
        return ViewAnswers(self.home.warehouse, self.prepared)

    @cached_property
    def background(self) -> Background:
        """What is made beside the pages."""
        return Background()

    @property
    def prepared(self) -> Path:
        """Folder of what the explorer has prepared; all of it may be removed at any time."""
        return self.home.root / "warehouse" / "columns"

    def left_out(self, key: str | None = None) -> dict[str, str]:
        """The partitions that pages leave out because they cannot be read, by path below the lake, each with the reason: of one dictionary,
        without a key of all that were looked at."""
        answers = self.views.left_out() if key is None else {}
        return dict(sorted({**answers, **self.dictionaries.left_out(key), **self.rows.left_out(key)}.items()))

    @property
    def absence(self) -> str | None:
        """The folder that is missing: the home, or its lake on this machine; None where both are there. An empty folder in place of a lake
        that held results is no lake."""
        lake = self.home.lake
        places = [self.home.root, *([Path(lake.root)] if lake.is_local else [])]
        missing = next((str(place) for place in places if not place.is_dir()), None)
        return missing or (lake.root if lake.is_local and lake.loss is not None else None)

    def kept(self, key: Hashable, state: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, kept in memory under `key` until the state is another. Readers who ask at once wait for one making."""
        with self._making:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            found = self._held.get(key)
            if found is None or found[0] != state:
                found = self._held[key] = (state, make())
            return found[1]

    @cached_property
    def _locks(self) -> dict[Hashable, Lock]:
        return {}

    @cached_property
    def _held(self) -> dict[Hashable, tuple[Hashable, Any]]:
        return {}

    def embedded_state(self, key: str) -> Hashable:
        """Names the content of a dictionary's embedded explanations; None where there are none."""
        manifest = self.home.lake.manifest(EXPLANATION_EMBEDDINGS.name, {"dictionary": key})
        return None if manifest is None else (manifest.data_version, manifest.footer_crc32)

    @cached_property
    def models(self) -> ModelDesk:
        """The subject model, dictionary and sentence encoder that pages need now and then."""
        return ModelDesk(self.provider, self.home.settings.sentence_encoder)

    def ask(self, key: Hashable, what: str, work: Callable[[], T]) -> T:
        """The answer of work with models; a page that waits, or says what is wrong, where there is none."""
        try:
            return self.models.ask(key, what, work)
        except (StillWorking, Busy) as error:
            waiting(str(error))
        except (UserError, DictionaryError, WeightsError, UnknownHook) as error:
            refused(str(error))

    def close(self) -> None:
        """End the threads, and free the models."""
        self.dictionaries.close()
        self.views.close()
        self.background.close()
        self.models.close()

    def dagster_partition(self, asset: str, where: RangeKey | str) -> str:
        """The address of a partition in Dagster."""
        return f"{self.dagster}/assets/{quote(asset)}?{urlencode({'view': 'partitions', 'partition': str(where)})}"

    def record(self, key: str) -> DictionaryRecord:
        """The record of a dictionary; a page that says so where there is none."""
        try:
            return self.home.registry.get(key)
        except (UserError, ValueError) as error:  # no key at all, or a key without a record
            not_found(str(error))

    def columns(self, key: str) -> FeatureColumns:
        """The columns of a dictionary; a page that waits where they are read for the first time."""
        try:
            return self.dictionaries.columns(key)
        except NotReadYet:
            waiting(f"The features of {key} are being read for the first time. This page opens as soon as they are.")


class Waiting(RuntimeError):
    """A page cannot be shown yet."""


def not_found(message: str) -> NoReturn:
    """Answer with a page that says what is not there."""
    raise HTTPException(404, message)


def refused(message: str) -> NoReturn:
    """Answer with a page that says what is wrong with what was asked."""
    raise HTTPException(400, message)


def waiting(message: str) -> NoReturn:
    """Answer with a page that says what it waits for, and asks again."""
    raise Waiting(message)
