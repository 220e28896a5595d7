"""`interp forget` leaves nothing but the replies, and `interp rename` makes nothing stale; each is finished by a second run where the first
was killed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from installation import KEY, Installation

from interp_assets.assets.warehouse.duckdb_file import Answer
from interp_assets.config.base import UserError
from interp_assets.config.records import CheckpointOf
from interp_assets.installation import forgetting, renaming
from interp_assets.installation.forgetting import forget, planned_removal
from interp_assets.installation.home import Home
from interp_assets.installation.registration import register_record
from interp_assets.installation.renaming import rename
from interp_assets.orchestration.partitions import DICTIONARIES
from interp_assets.ratings.notes import note_file, notes_on, save_note
from interp_assets.tables import TABLES
from resources.store.dictionary_partitions import folders_of

OTHER, NEW = "fake/01/neurons", "fake/00/mlp"
NAMES = ("examples", "explanations/max_act", "scores/detection")


class Killed(BaseException):
    """The end of a process."""


def instance_of(installation: Installation) -> Callable[[Home], Any]:
    @contextmanager
    def held(_home: Home) -> Iterator[dg.DagsterInstance]:
        yield installation.instance

    return held


def two_dictionaries(installation: Installation) -> None:
    """Two dictionaries of one sample, the first explained and scored, the second matched with the first."""
    stages = installation.record().stages
    deeper = installation.record(OTHER, hook="blocks.1.mlp.hook_post", stages={**stages, "matching": {"with": [KEY]}})
    first = installation.record(stages={**stages, "explanations": ["max_act"], "scores": {"detection": "all"}})
    installation.register(first, deeper)
    for key in (KEY, OTHER):
        installation.run("token_sample", "activation_shards", key=key)
    installation.run(*NAMES)
    installation.home.warehouse.build()
    installation.home.warehouse.copy()


def keys_in(installation: Installation, *tables: str) -> set[str]:
    """The dictionaries in the rows of all tables with a column of them."""
    lake, found = installation.home.lake, set()
    for table in TABLES:
        for manifest in lake.manifests(table.name) if not tables or table.name in tables else ():
            for name in {"dictionary", "other_dictionary"} & set(table.schema.names):
                found |= set(lake.read(table.name, manifest.partition, [name]).column(name).to_pylist())
    return found


def scores_of(installation: Installation) -> Answer:
    """What a new process reads."""
    return Home(installation.home.root, installation.home.lake_url).warehouse.query("SELECT dictionary, feature FROM scores")


def shown_of_scores(installation: Installation) -> tuple[set[str], int]:
    """The dictionaries that have scores for a reader, and the number of rows."""
    rows = scores_of(installation).rows
    return set(rows["dictionary"].to_pylist()), rows.num_rows


def test_a_reader_sees_no_part_of_a_dictionary_that_is_renamed_or_forgotten(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_dictionaries(installation)
    n_rows = shown_of_scores(installation)[1]
    seen: dict[str, list[tuple[set[str], int]]] = {"copy_partition": [], "remove_folder": []}

    def looked_at(name: str, module: Any) -> None:
        step = getattr(module, name)

        def work(lake: Any, one: Any, *more: Any) -> None:
            step(lake, one, *more)
            if "scores" in str(one):
                seen[name].append(shown_of_scores(installation))

        monkeypatch.setattr(module, name, work)

    looked_at("copy_partition", renaming)
    looked_at("remove_folder", renaming)
    rename(installation.home, KEY, NEW, lambda line: None, instance_of(installation))
    assert seen["copy_partition"] and all(one == ({KEY}, n_rows) for one in seen["copy_partition"])
    assert seen["remove_folder"] and all(one == ({NEW}, n_rows) for one in seen["remove_folder"])
    seen["remove_folder"].clear()
    looked_at("remove_folder", forgetting)
    installation.register(installation.record(OTHER, hook="blocks.1.mlp.hook_post"))  # which no longer names the other
    forget(installation.home, planned_removal(installation.home, NEW), instance_of(installation))
    assert seen["remove_folder"] and all(one == (set(), 0) for one in seen["remove_folder"])


def test_a_key_whose_move_is_unfinished_is_not_registered(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise Killed

    two_dictionaries(installation)
    text = yaml.safe_dump(installation.record().model_dump(mode="json", exclude_defaults=True))
    with monkeypatch.context() as patch:
        patch.setattr(renaming, "remove_folder", die)
        with pytest.raises(Killed):
            rename(installation.home, KEY, NEW, lambda line: None, instance_of(installation))
    with pytest.raises(UserError, match=f"{KEY} cannot be registered now: .* interp rename {KEY} {NEW} removes it"):
        register_record(installation.home, text, "a.yaml", check=False, say=lambda line: None)
    rename(installation.home, KEY, NEW, lambda line: None, instance_of(installation))
    assert register_record(installation.home, text, "a.yaml", check=False, say=lambda line: None).key == KEY


def test_a_renamed_dictionary_is_current_in_every_stage(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    two_dictionaries(installation)
    lake = installation.home.lake
    before = {tuple(m.partition.items()): (m.table, m.data_version, m.rows) for t in TABLES for m in lake.manifests(t.name)}
    asked, events = installation.models.asked, len(installation.instance.get_materialized_partitions(dg.AssetKey("examples")))
    rows = installation.home.warehouse.query("SELECT feature, value FROM scores ORDER BY ALL").rows
    stale = installation.stale(installation.home.registry.get(KEY))

    notes = installation.home.notes
    for key, feature, text in ((KEY, 3, "of the old key"), (KEY, 4, "stays"), (NEW, 4, "of an earlier dictionary")):
        save_note(notes, key, feature, "ada", text)
    said: list[str] = []

    # Killed at each of its steps, one after the other, it is finished by the last run.
    for step in ("_move_events", "_move_record", "remove_folder", "forget_copies"):
        with monkeypatch.context() as patch:

            def die(*_: object) -> None:
                raise Killed

            patch.setattr(renaming, step, die)
            with pytest.raises(Killed):
                rename(installation.home, KEY, NEW, lambda line: None, instance_of(installation))
        shown = NEW if step in ("remove_folder", "forget_copies") else KEY
        assert shown_of_scores(installation) == ({shown}, rows.num_rows)
        if step != "forget_copies":  # by then nothing is left of the old key
            told = "is not in this answer yet" if shown == KEY else "what is left of it is not in this answer"
            assert any(f"{told}: interp rename {KEY} {NEW}" in note for note in scores_of(installation).notes)
        with pytest.raises(UserError, match=f"is being renamed to {NEW}; finish that first"):
            rename(installation.home, KEY, "fake/00/another", lambda line: None, instance_of(installation))
    rename(installation.home, KEY, NEW, said.append, instance_of(installation))
    assert [[one.text for one in notes_on(notes, NEW, feature)] for feature in (3, 4)] == [["of the old key"], ["of an earlier dictionary"]]
    assert not notes_on(notes, KEY, 3) and f"{note_file(notes, KEY, 4)} stays: {NEW} has notes on this feature already" in said

    assert installation.home.registry.keys() == [NEW, OTHER] and keys_in(installation) == {NEW, OTHER} and not folders_of(lake, KEY)
    assert installation.home.registry.get(OTHER).stages["matching"] == {"with": [NEW]}
    renamed = {
        tuple((k, KEY if v == NEW else v) for k, v in m.partition.items()): (m.table, m.data_version, m.rows)
        for t in TABLES
        for m in lake.manifests(t.name)
    }
    assert renamed == before
    assert installation.stale(installation.home.registry.get(NEW)) == [name.replace(KEY, NEW) for name in stale]
    assert not [name for name in stale if name.split()[0] in NAMES]
    assert installation.instance.get_dynamic_partitions(DICTIONARIES.name or "") == [OTHER, NEW]
    made = installation.instance.get_materialized_partitions(dg.AssetKey("examples"))
    assert events == 16 and {name for name in made if name.startswith(NEW)} == {f"{NEW}|{n:02d}of16" for n in range(16)}
    assert installation.home.warehouse.query("SELECT feature, value FROM scores ORDER BY ALL").rows == rows
    result = installation.run(*NAMES, key=NEW)
    assert result.success and installation.models.asked == asked
    assert installation.home.warehouse.query("SELECT feature, value FROM scores ORDER BY ALL").rows == rows
    # The old key is free for another dictionary.
    installation.register(installation.record(hook="blocks.1.mlp.hook_post"))
    assert installation.home.registry.keys() == [NEW, KEY, OTHER]


def test_a_forgotten_dictionary_leaves_the_replies_and_the_sample_of_others(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_dictionaries(installation)
    home, asked = installation.home, installation.models.asked
    with pytest.raises(UserError, match=f"is named under .* of {OTHER}: take it out there first"):
        planned_removal(home, KEY)
    home.registry.write(installation.record(OTHER, hook="blocks.1.mlp.hook_post"))
    replies = home.replies.size().n_replies
    removal = planned_removal(home, KEY)
    n_bytes = sum(path.stat().st_size for path in Path(home.lake.root).rglob("*") if path.is_file() and "fake%2F00" in str(path))
    assert removal.n_bytes == n_bytes > 0 and not removal.shared and removal.rows["scores"] > 0
    assert removal.line.startswith(f"{KEY}: its record and {n_bytes:,} bytes of the lake with {removal.rows.total():,} rows (")

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "remove_folder", die)
        with pytest.raises(Killed):
            forget(home, removal, instance_of(installation))
    assert home.registry.keys() == [OTHER]  # nothing begins anew
    again = planned_removal(home, KEY)
    assert not again.registered and again.n_bytes == n_bytes
    forget(home, again, instance_of(installation))
    assert keys_in(installation) == {OTHER} and not folders_of(home.lake, KEY) and home.replies.size().n_replies == replies > 0
    assert installation.instance.get_dynamic_partitions(DICTIONARIES.name or "") == [OTHER]
    with pytest.raises(UserError, match=r"nothing to forget: no dictionary 'fake/00/neurons' is registered; did you mean"):
        planned_removal(home, KEY)

    # Made again, it asks nothing.
    two_dictionaries(installation)
    assert installation.models.asked == asked > 0

    # The last dictionary of a sample takes the sample along.
    of_a_run = CheckpointOf(series="fake/01/{step}", step=3)
    home.registry.write(installation.record(OTHER, hook="blocks.1.mlp.hook_post").model_copy(update={"checkpoint": of_a_run}))
    assert "; its checkpoint is not registered again by itself. Replies" in planned_removal(home, OTHER).line
    for key in (KEY, OTHER):
        forget(home, planned_removal(home, key), instance_of(installation))
    assert [manifest for table in TABLES for manifest in home.lake.manifests(table.name)] == []
    assert not list(home.warehouse.copies_folder.glob("*/dictionary=*"))
    assert home.registry.forgotten_checkpoints() == {OTHER}


def test_what_may_not_be_renamed_or_forgotten_is_said(installation: Installation) -> None:
    installation.register(installation.record(), installation.record(OTHER, hook="blocks.1.mlp.hook_post"))
    held = instance_of(installation)
    for new, told in (
        (OTHER, f"{OTHER} is taken"),
        ("fake/00", "is not of the form <model>/<layer>/<name>"),
        ("other/00/neurons", "begins with another model than fake/00/neurons"),
    ):
        with pytest.raises(UserError, match=told):
            rename(installation.home, KEY, new, lambda line: None, held)
    with pytest.raises(UserError, match="'fake/00/no' is not registered"):
        rename(installation.home, "fake/00/no", NEW, lambda line: None, held)
    run = dg.DagsterRun(job_name="harvest", status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": KEY})
    installation.instance.add_run(run)
    for act in (
        lambda: rename(installation.home, KEY, NEW, lambda line: None, held),
        lambda: forget(installation.home, forgetting.Removal(KEY, True, (), 0), held),
    ):
        with pytest.raises(UserError, match=f"run {run.run_id} of Dagster is not finished and may write {KEY}"):
            act()
    assert installation.home.registry.keys() == [KEY, OTHER]
