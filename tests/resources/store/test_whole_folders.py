"""A folder that is there whole or not at all, also after a kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resources.store.whole_folders import FolderTaken, folder_bytes, whole_folder

ROOT = Path(__file__).parents[3]


def test_the_folder_appears_at_the_end(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a" / "out") as aside:
        (aside / "x").write_text("12345")
        assert not (tmp_path / "a" / "out").exists()
    assert folder_bytes(tmp_path / "a" / "out") == 5 and os.listdir(tmp_path / "a") == ["out"]
    with pytest.raises(FolderTaken, match="out is not empty: it holds x"), whole_folder(tmp_path / "a" / "out"):
        pass
    with pytest.raises(FolderTaken, match="is a file"), whole_folder(tmp_path / "a" / "out" / "x"):
        pass


def test_an_error_leaves_nothing_and_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out") as aside:
        (aside / "x").touch()
        raise RuntimeError
    assert os.listdir(tmp_path) == ["out"] and not os.listdir(tmp_path / "out")


def test_after_a_kill_nothing_half_stands_and_a_rerun_finishes(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from resources.store.whole_folders import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])) as aside:\n"
        "    (aside / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out")], cwd=ROOT, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".out.") and not (tmp_path / "out").exists()
    (tmp_path / ".out.elsewhere.1.partial").mkdir()  # of another machine, which may be writing it
    with whole_folder(tmp_path / "out") as aside:
        (aside / "whole").touch()
    assert sorted(os.listdir(tmp_path)) == [".out.elsewhere.1.partial", "out"] and os.listdir(tmp_path / "out") == ["whole"]


def test_an_earlier_folder_is_replaced_and_after_a_kill_in_between_put_back(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def ours(folder: Path) -> bool:
        return (folder / "mark").is_file()

    def write(content: str) -> None:
        with whole_folder(out, ours) as aside:
            (aside / "mark").write_text(content)

    write("1")
    write("2")
    assert (out / "mark").read_text() == "2" and os.listdir(tmp_path) == ["out"]
    out.rename(tmp_path / ".out.earlier")  # where a kill leaves it
    with pytest.raises(RuntimeError), whole_folder(out, ours):
        raise RuntimeError
    assert (out / "mark").read_text() == "2" and os.listdir(tmp_path) == ["out"]
    (out / "mark").rename(out / "thesis.txt")
    with pytest.raises(FolderTaken, match=r"holds thesis\.txt"):
        write("3")
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    with whole_folder(tmp_path / "link") as aside:
        (aside / "x").touch()
    assert os.listdir(tmp_path / "missing") == ["x"]
    with pytest.raises(FolderTaken, match="is a file"), whole_folder(out / "thesis.txt" / "below"):
        pass


def test_the_top_of_the_disk_is_no_place_for_a_folder() -> None:
    with pytest.raises(FolderTaken, match="/ is the top of the disk: name a folder in it"), whole_folder(Path("/"), lambda _: True):
        raise AssertionError("nothing is written")
