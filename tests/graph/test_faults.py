"""Kills, damage and full disks in the front half of the graph: what is made afterwards equals an undisturbed run."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from installation import KEY, Installation

from resources.store import whole_files
from resources.store.activation_spill import ActivationSpill
from resources.store.lake import CorruptPartition

CELL = {"dictionary": KEY, "feature_range": "03of16"}

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from installation import Installation
from resources.store import activation_spill
from resources.store.activation_spill import ActivationSpill
from resources.store.lake_files import LakeFiles

where, count = sys.argv[3].split(":")
calls = 0

def deadly(owner, name):
    work = getattr(owner, name)
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*arguments, **options)
    setattr(owner, name, call)

from interp_assets.measuring import harvest
harvest.FLUSH_SECONDS = 0.0
deadly(*{"spill": (ActivationSpill, "_write_marker"), "sort": (activation_spill, "_sorted"), "rename": (LakeFiles, "put")}[where])
installation = Installation(Path(sys.argv[1]), Path(sys.argv[2]))
installation.instance.add_dynamic_partitions("dictionary", ["fake/00/neurons"])
installation.run("activation_shards")
"""


def shards(installation: Installation) -> dict[str, bytes]:
    """The files of the harvest's two tables."""
    kept = ("activations/", "feature_statistics/")
    return {path: content for path, content in installation.lake_bytes().items() if path.startswith(kept)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> dict[str, bytes]:
    installation = Installation(tmp_path_factory.mktemp("undisturbed"), corpus)
    installation.register(installation.record())
    installation.run("token_sample", "activation_shards")
    return shards(installation)


@pytest.mark.parametrize("where", ["spill:3", "sort:5", "rename:9", "rename:32"])
def test_a_harvest_killed_anywhere_continues_to_the_same_bytes(
    installation: Installation, undisturbed: dict[str, bytes], where: str
) -> None:
    installation.register(installation.record())
    installation.run("token_sample")
    here = Path(__file__).parent
    command = [sys.executable, "-c", KILLED, str(installation.home.root), str(installation.corpus), where, str(here)]
    assert subprocess.run(command, cwd=here.parents[1], capture_output=True).returncode == -signal.SIGKILL
    spills = list(installation.home.spill.iterdir())
    assert len(spills) == 1
    result = installation.run("activation_shards")
    if where.startswith("spill"):
        # The pass went on behind the contexts that were safe.
        messages = [event.message for event in installation.instance.all_logs(result.run_id) if "continuing at context" in event.message]
        assert len(messages) == 1 and "continuing at context 0 " not in messages[0]
    assert shards(installation) == undisturbed
    assert not list(installation.home.spill.iterdir())


def test_a_damaged_shard_is_named_by_its_reader_and_made_again(installation: Installation, undisturbed: dict[str, bytes]) -> None:
    installation.register(installation.record())
    installation.run("token_sample", "activation_shards")
    part = Path(installation.home.lake.path("activations", CELL)) / "part-0.parquet"
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 1
    part.write_bytes(content)
    with pytest.raises(CorruptPartition, match=rf"activations for dictionary {KEY}, feature_range 03of16 is damaged.*materialise"):
        installation.run("examples")
    installation.run("activation_shards")
    assert shards(installation) == undisturbed
    installation.run("examples")


def test_a_full_disk_names_the_stage_and_the_next_run_completes_it(
    installation: Installation, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installation.register(installation.record())
    installation.run("token_sample")
    full = tmp_path / "full"
    full.symlink_to("/dev/full")  # the kernel's full device: every write to it says that there is no space
    with monkeypatch.context() as patch:
        path = ActivationSpill._path
        patch.setattr(ActivationSpill, "_path", lambda spill, *place: full if place[1] == 7 else path(spill, *place))
        with pytest.raises(Exception, match="no room left for activations under"):
            installation.run("activation_shards")
    temporary = whole_files.temporary_name

    def on_the_full_device(folder: str, name: str) -> str:
        Path(temporary(folder, name)).symlink_to("/dev/full")
        return temporary(folder, name)

    with monkeypatch.context() as patch:
        patch.setattr(whole_files, "temporary_name", on_the_full_device)
        with pytest.raises(Exception, match=r"no room left while writing activations for dictionary fake/00/neurons"):
            installation.run("activation_shards")
    installation.run("activation_shards")
    assert shards(installation) == undisturbed


def test_two_runs_on_one_partition_leave_one_whole_result(installation: Installation, undisturbed: dict[str, bytes]) -> None:
    installation.register(installation.record())
    installation.run("token_sample")
    here = Path(__file__).parent
    command = [sys.executable, "-c", KILLED, str(installation.home.root), str(installation.corpus), "rename:0", str(here)]
    runs = [subprocess.Popen(command, cwd=here.parents[1], stderr=subprocess.DEVNULL) for _ in range(2)]
    assert 0 in [run.wait() for run in runs]
    installation.run("activation_shards")
    assert shards(installation) == undisturbed
