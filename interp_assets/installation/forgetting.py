"""`interp forget`: removes a dictionary with all that was made of it. Replies of language models stay.

The record goes first, so that nothing begins anew and nothing of the dictionary is shown any more (see moves.py). What a killed removal
leaves is found by its key when the same command runs again.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from interp_assets.asking.estimates import forget_estimates
from interp_assets.assets.warehouse.views import KEPT_BY
from interp_assets.config.base import UserError
from interp_assets.config.keys import check_dictionary_key
from interp_assets.config.nearest import nearest_hint
from interp_assets.installation.home import Home
from interp_assets.installation.unfinished_runs import Instance, home_instance, refuse_under_way
from interp_assets.orchestration.partitions import DICTIONARIES
from interp_assets.tables import DICTIONARY_EMBEDDINGS, DICTIONARY_SAMPLES, DOCUMENTS, TOKEN_SAMPLES, WINDOW_EMBEDDINGS
from resources.store.dictionary_partitions import bytes_in, folders_of, manifests_of, remove_folder
from resources.store.lake import LakeError

SHARED = ((DICTIONARY_SAMPLES, "sample", (TOKEN_SAMPLES, DOCUMENTS)), (DICTIONARY_EMBEDDINGS, "embeddings", (WINDOW_EMBEDDINGS,)))
"""A table with a dictionary's address of something shared, the column of the address, and the tables that hold what is shared."""


@dataclass(frozen=True)
class Removal:
    """What would be removed: folders of the lake with their bytes, the rows by table, whether there is a record, and whether the record is
    of a checkpoint in a watched folder."""

    key: str
    registered: bool
    folders: tuple[str, ...]
    n_bytes: int
    rows: Counter[str] = field(default_factory=Counter)
    shared: tuple[str, ...] = ()
    watched: bool = False

    @property
    def line(self) -> str:
        """What would be removed, in one sentence."""
        rows = ", ".join(f"{n:,} of {table}" for table, n in self.rows.most_common(6))
        more = f" and {len(self.rows) - 6} more tables" if len(self.rows) > 6 else ""
        record = "its record and " if self.registered else ""
        shared = "; its token sample or embeddings too, which no other dictionary reads" if self.shared else ""
        watched = "; its checkpoint is not registered again by itself" if self.watched else ""
        return (
            f"{self.key}: {record}{self.n_bytes:,} bytes of the lake with {self.rows.total():,} rows ({rows or 'none'}{more})"
            f"{shared}{watched}. Replies of language models stay"
        )


def planned_removal(home: Home, key: str) -> Removal:
    """What `forget` would remove. Raises `UserError` for a key of nothing, and for a dictionary that another record names."""
    try:
        check_dictionary_key(key)
    except ValueError as error:
        raise UserError(f"nothing to forget: {error}{nearest_hint(key, home.registry.keys())}") from None
    registered = home.registry.path_of(key).exists()
    folders = folders_of(home.lake, key)
    if not registered and not folders:
        keys = home.registry.keys()
        raise UserError(
            f"nothing to forget: no dictionary {key!r} is registered{nearest_hint(key, keys)}, and nothing of it is left. Registered: "
            f"{', '.join(keys) or 'none'}"
        )
    if users := naming(home, key):
        raise UserError(
            f"{key} is named under `stages: {{matching: {{with: …}}}}` of {', '.join(users)}: take it out there first, and register the "
            "changed records"
        )
    shared = tuple(_orphans(home, key)) if folders else ()
    rows = Counter[str]()
    for manifest in manifests_of(home.lake, key):
        rows[manifest.table] += manifest.rows
    n_bytes = sum(bytes_in(home.lake, folder) for folder in (*folders, *shared))
    record = home.registry.read_all()[0].get(key)
    return Removal(key, registered, tuple(folders), n_bytes, +rows, shared, record is not None and record.checkpoint is not None)


def forget(home: Home, removal: Removal, instance_of: Instance = home_instance) -> None:
    """Remove what a removal names. Killed in the middle, it is finished by another run. Raises `UserError` while a run of Dagster may write
    the dictionary."""
    key = removal.key
    with instance_of(home) as instance:
        refuse_under_way(instance, key)
        if removal.watched:
            home.registry.forget_checkpoint(key)
        home.moves.begin_removal(key)
        home.registry.path_of(key).unlink(missing_ok=True)
        instance.delete_dynamic_partition(DICTIONARIES.name or "", key)
    for folder in (*removal.shared, *removal.folders):
        remove_folder(home.lake, folder)
    forget_copies(home, key)
    forget_estimates(home.estimates, key)
    if home.warehouse.path.exists():
        home.warehouse.build()
    home.moves.end(key)


def forget_copies(home: Home, key: str) -> None:
    """Remove the copies that SQL reads in place of a dictionary's small partitions, and the kept rows of views that may be about it."""
    forget_copy(home, key)
    for view, kind in KEPT_BY.items():
        home.warehouse.answers.forget(view, key if kind == "dictionary" else None)


def forget_copy(home: Home, key: str, table: str = "*") -> None:
    """Remove the copies of a dictionary's small partitions of one table, or of all tables."""
    for folder in home.warehouse.copies_folder.glob(f"{table}/dictionary={quote(key, safe='')}"):
        shutil.rmtree(folder, ignore_errors=True)


def naming(home: Home, key: str) -> list[str]:
    """The other registered dictionaries whose records name this one as one to match with."""
    return [other for other, record in home.registry.read_all()[0].items() if other != key and key in matched_with(record.stages)]


def matched_with(stages: dict) -> list[str]:
    """The keys under matching.with in a record's stages."""
    matching = stages.get("matching")
    found = matching.get("with") if isinstance(matching, dict) else None
    return list(found) if isinstance(found, list | tuple) else []


def _orphans(home: Home, key: str) -> Iterator[str]:
    """Folders of the token sample and of the embeddings of a dictionary that no other dictionary reads."""
    for table, column, held_in in SHARED:
        addresses: dict[str, set[str]] = {}
        for manifest in home.lake.manifests(table.name):
            try:
                rows = home.lake.read(table.name, manifest.partition, [column])
            except LakeError:
                return  # which addresses are read is not known: nothing shared is removed
            addresses[manifest.partition["dictionary"]] = {value for value in rows.column(column).to_pylist() if value}
        others = set().union(*(found for name, found in addresses.items() if name != key))
        for address in sorted(addresses.get(key, set()) - others):
            for one in held_in:
                folder = home.lake.path(one.name, {one.partition_columns[0]: address})
                if home.lake.fs.exists(folder):
                    yield folder
