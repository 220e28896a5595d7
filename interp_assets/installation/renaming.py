"""`interp rename`: another key for a dictionary. Everything that was made of it moves, nothing becomes stale, and nothing is asked again.

The record keeps its former keys: data versions and the ids of explanations are made of the oldest. The steps are: a note of the new key;
copies of all partitions under it; its events in Dagster; its record; and then the removal of what has the old key. Each step skips what is
done, so the same command finishes what a killed one began. Readers see the old dictionary until the record has moved, and then the new
one: see moves.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from interp_assets.asking.estimates import move_estimates
from interp_assets.assets.activation_shards.shards import WRITER_OPTIONS
from interp_assets.config.base import UserError
from interp_assets.config.keys import FEATURE_RANGE_KEYS, check_dictionary_key
from interp_assets.installation.forgetting import forget_copies, matched_with, naming
from interp_assets.installation.home import Home
from interp_assets.installation.unfinished_runs import Instance, home_instance, refuse_under_way
from interp_assets.orchestration.partitions import DICTIONARIES
from interp_assets.ratings.notes import move_notes
from interp_assets.tables import ACTIVATIONS, FEATURE_MATCHES, TABLES
from resources.store.dictionary_partitions import copy_partition, folders_of, manifests_of, remove_folder

COLUMNS = ("dictionary", "other_dictionary", "scope_value")
"""Columns of the lake's tables that hold keys of dictionaries."""


def rename(home: Home, old: str, new: str, say: Callable[[str], None], instance_of: Instance = home_instance) -> None:
    """Give the dictionary `old` the key `new`.

    Raises `UserError` for a key that is none or is taken, for a dictionary that is not registered, and while a run of Dagster may write it.
    """
    if not _begun(home, old, new):
        _refuse(home, old, new)
    with instance_of(home) as instance:
        refuse_under_way(instance, old, new)
        home.moves.begin_rename(old, new)
        say(f"{old}: copying {len(manifests_of(home.lake, old)):,} partitions to {new}")
        _copy_partitions(home, old, new)
        _move_events(instance, old, new)
        _move_record(home, old, new)
        instance.add_dynamic_partitions(DICTIONARIES.name or "", [new])
        instance.delete_dynamic_partition(DICTIONARIES.name or "", old)
    for folder in folders_of(home.lake, old):
        remove_folder(home.lake, folder)
    move_estimates(home.estimates, old, new)
    forget_copies(home, old)
    if home.warehouse.path.exists():
        home.warehouse.build()
    for stayed in move_notes(home.notes, old, new):
        say(f"{stayed} stays: {new} has notes on this feature already")
    home.moves.end(old)
    if home.settings_file.is_file() and old in home.settings_file.read_text(encoding="utf-8"):
        say(f"{home.settings_file} names {old}: write {new} there")


def _begun(home: Home, old: str, new: str) -> bool:
    """Whether a killed command began this renaming. Raises `UserError` where it began another of the same dictionary."""
    begun = home.moves.new_key(old)
    if begun is not None and begun != new:
        raise UserError(f"{old} is being renamed to {begun}; finish that first: interp rename {old} {begun}")
    return begun is not None


def _refuse(home: Home, old: str, new: str) -> None:
    try:
        check_dictionary_key(new)
    except ValueError as error:
        raise UserError(str(error)) from None
    record = home.registry.get(old)
    if old.split("/")[0] != new.split("/")[0]:
        raise UserError(
            f"{new} begins with another model than {old}: a key's first part names the model {record.model.source}, and results are "
            f"compared by it. Name it {old.split('/')[0]}/…"
        )
    if new == old:
        raise UserError(f"{old} has this key already: name another one")
    if home.registry.path_of(new).exists() or folders_of(home.lake, new):
        raise UserError(f"{new} is taken: choose another key, or remove that dictionary first: interp forget {new}")


def _copy_partitions(home: Home, old: str, new: str) -> None:
    """Copies of all partitions of the dictionary, and its new key in the rows of other partitions, all under their data versions."""
    values = {column: {old: new} for column in COLUMNS}
    for manifest in manifests_of(home.lake, old):
        options: Mapping[str, Any] = WRITER_OPTIONS if manifest.table == ACTIVATIONS.name else {}
        copy_partition(home.lake, manifest, manifest.partition | {"dictionary": new}, values, options)
    matched = [home.lake.manifest(FEATURE_MATCHES.name, {"dictionary": other}) for other in naming(home, old)]
    over_all = [manifest for table in TABLES if not table.partition_columns for manifest in home.lake.manifests(table.name)]
    for manifest in (*matched, *over_all):
        if manifest is not None:
            copy_partition(home.lake, manifest, manifest.partition, values, {})


def _move_record(home: Home, old: str, new: str) -> None:
    """The record under the new key, the new key in the records that name the dictionary, and then the old record's end."""
    for other in naming(home, old):
        record = home.registry.get(other)
        named = [new if key == old else key for key in matched_with(record.stages)]
        matching = {**record.stages["matching"], "with": named}
        home.registry.write(record.model_copy(update={"stages": {**record.stages, "matching": matching}}))
    path = home.registry.path_of(old)
    if path.exists():
        record = home.registry.get(old)
        home.registry.write(record.model_copy(update={"key": new, "former_keys": (*record.former_keys, old)}))
        path.unlink()


def _move_events(instance: dg.DagsterInstance, old: str, new: str) -> None:
    """A materialisation of each partition under the new key, with the metadata and the data version of its last one under the old key."""
    ranges = [f"|{name}" for name in FEATURE_RANGE_KEYS]
    for asset in instance.all_asset_keys():
        made = set(instance.get_materialized_partitions(asset))
        for end in ("", *ranges):
            if old + end not in made or new + end in made:
                continue
            filtered = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[old + end])
            last = instance.fetch_materializations(filtered, limit=1).records[0].asset_materialization
            if last is None:
                continue
            key = dg.MultiPartitionKey({"dictionary": new, "feature_range": end[1:]}) if end else new
            tags = {name: value for name, value in (last.tags or {}).items() if not name.startswith("dagster/partition")}
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key, metadata=last.metadata, tags=tags))
