"""A command in a locale that is not UTF-8 reads and prints UTF-8 all the same."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_record_with_umlauts_is_read_in_a_locale_of_ascii(tmp_path: Path) -> None:
    folder = tmp_path / "dictionaries"
    folder.mkdir()
    (folder / "broken.yaml").write_text("größe: 1", encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "interp_assets.cli.main", "dictionaries"],
        env={**os.environ, **ascii_only, "INTERP_HOME": str(tmp_path)}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1 and "größe" in done.stderr.decode() and b"Traceback" not in done.stderr


def test_a_letter_that_the_stream_has_not_is_a_question_mark(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "interp_assets.cli.main", "query", "SELECT 'größe 户' AS said", "--format", "csv"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "INTERP_HOME": str(tmp_path)}, capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout.decode("latin-1")) == (0, "said\ngröße ?\n"), done.stderr
