"""`interp_assets.open`: frames, a feature that shows itself, an SAE from memory, and the worked notebook."""

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from documentation import ROOT
from installation import KEY
from small_lab import Lab

import interp_assets as ia
from interp_assets.config.base import UserError
from interp_assets.installation.home import Home
from interp_assets.notebook.feature import FeatureView
from interp_assets.notebook.lab import Lab as Opened

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
IMPORT = "import sys, interp_assets; print(sorted({'torch', 'dagster', 'polars', 'duckdb', 'yaml', 'rich'} & set(sys.modules)))"


@pytest.fixture
def opened(lab: Lab) -> Opened:
    """The lab's home, opened."""
    return ia.open(lab.home.root)


def test_importing_the_package_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_frames_are_of_what_was_asked_for(opened: Opened) -> None:
    scores = opened.scores(KEY, [5, 40], scorer="fuzzing")
    assert scores["feature"].to_list() == [5, 40] and scores["headline"].all() and scores.schema["scorer"] == pl.String
    assert len(opened.scores(KEY, 5, headline=False)) > len(opened.scores(KEY, 5)) == 2
    assert opened.explanations(method="max_act")["feature"].to_list() == [5, 40] and opened.explanations(method="shuffled").is_empty()
    assert opened.examples(KEY, 40)["feature"].unique().to_list() == [40]
    assert opened.sql("SELECT count(*) AS n FROM scores WHERE headline")["n"].to_list() == [4]
    assert opened.sql("scores_by_method").to_pandas()["scorer"].nunique() == 2
    assert opened.keys == [KEY] and KEY in repr(opened) and opened.dictionaries()["dictionary"].to_list() == [KEY]
    assert "scores" in opened.views["name"].to_list()


def test_lists_of_names_and_arrays_of_features_are_taken(opened: Opened) -> None:
    import torch

    both = opened.scores([KEY, KEY], torch.tensor([5, 40]), scorer=["fuzzing", "detection"], method=("max_act", "shuffled"))
    assert both.equals(opened.scores(KEY)) and len(both) == 4
    assert opened.scores(scorer=[]).is_empty() and opened.examples([KEY], pl.Series([40])).equals(opened.examples(KEY, 40))


def test_sql_of_several_lines_and_a_view_in_any_case_are_answered(opened: Opened) -> None:
    scores = opened.sql("scores")
    for written in ("SELECT\n*\nFROM\nscores", "FROM\tscores", " Scores;", "(FROM scores)"):
        assert opened.sql(written).equals(scores)


def test_frames_of_several_features_go_together(opened: Opened) -> None:
    views = [opened.feature(KEY, 5), opened.feature(KEY, 6)]  # 6 has no explanation yet, and nothing to take types from
    assert pl.concat([one.scores for one in views]).equals(opened.scores(KEY, 5).select(views[0].scores.columns), null_equal=True)
    for frame, table in (("scores", "scores"), ("explanations", "explanations"), ("examples", "examples")):
        types = opened.sql(f"SELECT * FROM {table} LIMIT 0").schema
        assert all(getattr(one, frame).schema == types for one in views)


def test_mistakes_name_what_was_meant(opened: Opened, tmp_path: Path) -> None:
    for wrong, said in (
        (lambda: opened.sql("scors"), "did you mean 'scores'"),
        (lambda: opened.sql("SELECT explanatio FROM explanations"), "Candidate bindings"),
        (lambda: opened.sql("DROP TABLE scores"), "read-only"),
        (lambda: opened.scores("fake/00/neuron"), "did you mean 'fake/00/neurons'"),
        (lambda: opened.explanations(method="o'hara"), 'there is no explanation method "o\'hara"; there are max_act'),
        (lambda: opened.scores(scorer="detekt"), "there is no scorer 'detekt'; did you mean 'detection'"),
        (lambda: opened.scores(5), "5 is no name of a dictionary"),
        (lambda: opened.scores(scorer=["fuzzing", "detekt"]), "there is no scorer 'detekt'; did you mean 'detection'"),
        (lambda: opened.scores(KEY, 4.5), "4.5' is no feature: features are whole numbers from 0"),
        (lambda: opened.scores(KEY, -1), "-1' is no feature"),
        (lambda: opened.examples(KEY, True), "True' is no feature"),
        (lambda: opened.feature(KEY, [4, 6]), "shows one feature, such as 404"),
        (lambda: opened.feature(KEY, 64), "does not select feature 64"),
        (lambda: ia.open(tmp_path / "nowhere"), "there is no home"),
        (lambda: opened.register(object(), model="m"), "object is no SAE of SAELens"),
    ):
        with pytest.raises(UserError, match=said):
            wrong()


class Tags(HTMLParser):
    """Gathers tags, and refuses one that is closed without having been opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_feature_shows_itself(opened: Opened) -> None:
    view = opened.feature(KEY, 5)
    shown, tags = view._repr_html_(), Tags()
    tags.feed(shown)
    assert tags.open == [] and {"svg", "rect", "table", "span"} <= tags.seen and "script" not in tags.seen
    for part in (KEY, "feature 5", "the word", "fuzzing", "rgba(255,140,0", "silent windows", "co occurrence"):
        assert part in shown
    assert view.explanations["explanation_method"].to_list() == ["max_act"] and len(view.scores) == 2 and not view.examples.is_empty()
    assert "the word" in repr(view)
    assert "no explanations yet" in opened.feature(KEY, 6)._repr_html_()


def test_a_lab_goes_to_another_process(opened: Opened) -> None:
    opened.sql("SELECT 1 AS one")
    again = pickle.loads(pickle.dumps(opened))
    assert again.home.root == opened.home.root and again.keys == opened.keys and again.sql("SELECT 1 AS one")["one"].to_list() == [1]


def test_hostile_texts_stay_texts(opened: Opened) -> None:
    from dataclasses import replace

    card = opened.feature(KEY, 5).card
    attack = "</td><script>alert(1)</script>"
    hostile = replace(
        card,
        explanations=[{**row, "explanation": attack} for row in card.explanations],
        examples=[{**row, "tokens": [attack, *row["tokens"][1:]]} for row in card.examples],
        neighbours=[{**row, "explanation": attack} for row in card.neighbours],
        projections={"promoted": [(attack, 1.0)], "suppressed": []},
    )
    shown, tags = FeatureView(hostile)._repr_html_(), Tags()
    tags.feed(shown)
    assert "script" not in tags.seen and tags.open == [] and shown.count("&lt;script&gt;") > 4


def test_a_copy_that_may_not_be_written_is_read(lab: Lab, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    home.mkdir()
    for name in ("lake", "dictionaries"):
        (home / name).symlink_to(lab.home.root / name)
    (home / "warehouse").write_text("")  # no folder can be made in its place, whoever asks
    os.chmod(home, 0o555)
    try:
        copy = ia.open(home)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert copy.scores(KEY).equals(ia.open(lab.home.root).scores(KEY))
        assert "the word" in copy.feature(KEY, 5)._repr_html_()
    finally:
        os.chmod(home, 0o755)
    written = {path.name for path in home.iterdir()} - {"lake_in_use.json"}  # root writes whatever the mode is
    assert written == {"dictionaries", "lake", "warehouse"}


LACKING = """
import sys
import interp_assets as ia
lab = ia.open(sys.argv[1])
for _ in range(3):
    assert len(lab.scores()) == 2
"""

TOGETHER = """
import asyncio, concurrent.futures, multiprocessing, sys
from interp_assets.config.base import UserError
import interp_assets as ia
lab, key = ia.open(sys.argv[1]), sys.argv[2]

def look(number):
    return lab.scores(key, number % 2 * 35 + 5)["feature"].unique().to_list() + [len(lab.sql("SELECT * FROM examples"))]

expected = [look(number) for number in range(16)]
with concurrent.futures.ThreadPoolExecutor(8) as threads:
    assert list(threads.map(look, range(16))) == expected

async def cell():
    return await asyncio.gather(*(asyncio.to_thread(look, number) for number in range(16))), look(0)

assert asyncio.run(cell()) == (expected, expected[0])
with multiprocessing.get_context("fork").Pool(2) as pool:
    try:
        pool.map_async(look, range(16)).get(60)
    except UserError as error:
        assert 'start processes with multiprocessing.get_context("spawn")' in str(error)
    else:
        raise AssertionError("a fork hangs sooner or later")
assert look(1) == expected[1]
print("same")
"""


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """What a script prints in a process of its own, which shows warnings as Python does by itself."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, env=own, timeout=180
    )


def test_every_answer_that_lacks_a_partition_says_so(lab: Lab, tmp_path: Path) -> None:
    """Python shows a warning of one place once; the second answer lacks as much as the first."""
    home = tmp_path / "copy"
    shutil.copytree(lab.home.root, home, ignore=shutil.ignore_patterns("warehouse*", "dagster"))
    for part in home.glob("lake/scores/*/*/feature_range=10of16/*.parquet"):
        part.unlink()
    done = python(LACKING, home)
    assert done.returncode == 0 and done.stderr.count("PartitionWarning: ") >= 3, done.stderr
    silenced = python(f"import warnings; warnings.simplefilter('ignore'){LACKING}", home)
    assert silenced.returncode == 0 and silenced.stderr == ""


def test_a_lab_is_read_by_threads_and_in_a_running_loop_and_refuses_a_fork(lab: Lab) -> None:
    done = python(TOGETHER, lab.home.root, KEY)
    assert (done.returncode, done.stdout) == (0, "same\n"), done.stderr


def test_a_small_run_from_a_notebook(lab: Lab, capsys: pytest.CaptureFixture) -> None:
    opened = Opened(lab.home, lab.models)
    asked = len(lab.asked)
    assert opened.run(KEY, 5).runs == () and len(lab.asked) == asked
    with pytest.raises(UserError, match="does not select feature 99"):
        opened.run(KEY, [99])


def test_an_sae_from_memory_is_registered_by_its_content(tmp_path: Path) -> None:
    import torch
    from sae_lens import StandardSAE, StandardSAEConfig

    opened = Opened(Home(tmp_path / "home", str(tmp_path / "home" / "lake")))
    model = tmp_path / "My Model"
    model.mkdir()
    torch.manual_seed(0)
    sae = StandardSAE(StandardSAEConfig(d_in=8, d_sae=16))
    keys = [opened.register(sae, model=str(model), hook="blocks.3.hook_resid_post", check=False) for _ in range(2)]
    assert keys[0] == keys[1] and keys[0].startswith("My-Model/03/sae-")
    record = opened.record(keys[0])
    assert (record.width, record.kind, record.hook) == (16, "sae_lens", "blocks.3.hook_resid_post")
    with torch.no_grad():
        sae.W_dec += 1
    other = opened.register(sae, model=str(model), hook="blocks.3.hook_resid_post", check=False, description="later")
    assert other != keys[0] and opened.record(other).description == "later"
    assert opened.record(other).fingerprint != record.fingerprint
    named = opened.register(sae, model=str(model), hook="blocks.3.hook_resid_post", key="m/03/mine", check=False)
    assert opened.record(named).source == opened.record(other).source and len(list((tmp_path / "home" / "saes").iterdir())) == 2
    with pytest.raises(UserError, match="does not say its hook"):
        opened.register(sae, model=str(model), check=False)


def executed(source: str, names: dict[str, Any]) -> Any:
    """The value of a cell's last line where it is an expression, as a notebook shows it."""
    parsed = ast.parse(source)
    last = parsed.body.pop() if isinstance(parsed.body[-1], ast.Expr) else None
    exec(compile(parsed, str(NOTEBOOK), "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)  # type: ignore[attr-defined]


def test_the_worked_notebook_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_HOME", str(lab.home.root))
    content = json.loads(NOTEBOOK.read_text())
    names: dict[str, Any] = {}
    shown = [executed(cell["source"], names) for cell in content["cells"] if cell["cell_type"] == "code"]
    frames = [one for one in shown if isinstance(one, pl.DataFrame)]
    assert len(frames) >= 5 and not any(frame.is_empty() for frame in frames)
    assert any(isinstance(one, FeatureView) for one in shown) and all(one is not None for one in shown)
    assert all(not cell.get("outputs") for cell in content["cells"])
