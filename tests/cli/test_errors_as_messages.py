"""What a user can mend ends a command with one line; a programmer's mistake stays a traceback."""

import errno
import os
from pathlib import Path

import pytest
import typer

from interp_assets.cli.errors import errors_as_messages
from interp_assets.config.base import UserError
from interp_assets.installation.server import ServerError
from resources.corpus.interface import CorpusError
from resources.dictionaries.interface import DictionaryError, NoDecoder
from resources.formats.interface import ExchangeError
from resources.store.lake import CorruptPartition, LakeError
from resources.store.whole_files import write_whole
from resources.subject.block_paths import NoBlocks
from resources.subject.chat_texts import ChatTemplateError
from resources.subject.hook_points import ContextTooLong, UnknownFamily, UnknownHook
from resources.weights import WeightsError

ERRORS = (
    ChatTemplateError, ContextTooLong, CorpusError, CorruptPartition, DictionaryError, ExchangeError, LakeError, NoBlocks, NoDecoder,
    ServerError, UnknownFamily, UnknownHook, UserError, WeightsError,
)  # fmt: skip


@pytest.mark.parametrize("kind", ERRORS)
def test_what_a_user_can_mend_is_a_message(kind: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left, errors_as_messages():
        raise kind("the folder x is not there: name another")
    assert left.value.exit_code == 1 and capsys.readouterr().err == "error: the folder x is not there: name another\n"


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, KeyError, AssertionError])
def test_a_mistake_of_ours_stays_a_traceback(kind: type[Exception]) -> None:
    with pytest.raises(kind), errors_as_messages():
        raise kind("x")


def test_a_file_in_the_place_of_a_folder_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(typer.Exit), errors_as_messages():
        write_whole(tmp_path / "file" / "scores.csv", "a")
    assert capsys.readouterr().err == f"error: {tmp_path}/file: File exists; a file stands where a folder is needed: name another place\n"


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOLCK, "no file locks"), (errno.ESTALE, "mount it again"), (errno.EFBIG, "takes no file so large")]
)
def test_errors_of_odd_disks_say_what_to_do(number: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), errors_as_messages():
        raise OSError(number, os.strerror(number), "/home/lake")
    said = capsys.readouterr().err
    assert said.startswith(f"error: /home/lake: {os.strerror(number)}; ") and told in said
