"""Results of a delphi run: file by file out, explanations back in, and never two exports mixed."""

import json
from pathlib import Path

import pytest

from resources.formats.delphi_results import ResultsFolder, explanation_files, has_explanations, judged_window, read_explanations
from resources.formats.interface import BadRow, ExchangeError, StatedExplanation

PROVENANCE = {"dictionary": "m/09/n", "data_version": "1"}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_window_has_delphis_fields_in_its_order(tmp_path: Path) -> None:
    answered = judged_window([" Zürich", "!"], [0.0, 2.5], 3, True, False, 0.25)
    unanswered = judged_window(["a"], [0.0], None, False, None, None)
    ResultsFolder(tmp_path, "layers.9", PROVENANCE).write_scores("fuzz", 7, [answered, unanswered])
    text = (tmp_path / "scores" / "fuzz" / "layers.9_latent7.txt").read_text()
    assert text == (
        '[{"str_tokens":[" Zürich","!"],"activations":[0.0,2.5],"distance":3,"activating":true,"prediction":false,"probability":0.25,'
        '"correct":false},'
        '{"str_tokens":["a"],"activations":[0.0],"distance":-1,"activating":false,"prediction":null,"probability":null,"correct":null}]'
    )
    assert judged_window(["a"], [1.0], None, True, True, None).distance is None  # a decile that is not known
    assert judged_window(["a"], [0.0], 4, False, False, None) == judged_window(["a"], [0.0], None, False, False, None)


def test_an_export_continues_and_another_is_refused(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path, "layers.9", PROVENANCE)
    assert results.write_explanation(7, "cats")
    again = ResultsFolder(tmp_path, "layers.9", PROVENANCE)
    assert not again.write_explanation(7, "cats") and again.write_explanation(8, "dogs")
    assert files(tmp_path) == {"exported/layers.9.json", "explanations/layers.9_latent7.txt", "explanations/layers.9_latent8.txt"}
    with pytest.raises(ExchangeError, match=r"results of layers\.9 from another export"):
        ResultsFolder(tmp_path, "layers.9", {**PROVENANCE, "data_version": "2"})
    (tmp_path / "exported" / "layers.9.json").unlink()
    with pytest.raises(ExchangeError, match="not exported from here"):
        ResultsFolder(tmp_path, "layers.9", PROVENANCE)


def test_hook_points_that_delphi_would_mix_up_are_kept_apart(tmp_path: Path) -> None:
    ResultsFolder(tmp_path, "layers.1/mlp", PROVENANCE).write_scores("detection", 0, [])
    assert "scores/detection/layers.1--mlp_latent0.txt" in files(tmp_path)
    ResultsFolder(tmp_path, "layers.2", PROVENANCE).write_explanation(0, "a")
    for name in ("layers.1", "layers.20", "ers.2"):
        with pytest.raises(ExchangeError, match=f"delphi would mix them with results of {name}"):
            ResultsFolder(tmp_path, name, PROVENANCE)
    assert files(tmp_path / "exported") == {"layers.1--mlp.json", "layers.2.json"}


def test_explanations_come_back_by_feature(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path, "layers.9", PROVENANCE)
    texts = {10: 'a "quoted" text', 2: "Zürich\n", 1: "x"}
    for feature, text in texts.items():
        results.write_explanation(feature, text)
    assert has_explanations(tmp_path) and has_explanations(tmp_path / "explanations")
    for folder, hookpoint in ((tmp_path, None), (tmp_path / "explanations", "layers.9")):
        read = list(read_explanations(explanation_files(folder, hookpoint), 11))
        assert read == [
            StatedExplanation(f"{tmp_path}/explanations/layers.9_latent{feature}.txt", feature, texts[feature].strip())
            for feature in (1, 2, 10)
        ]


def test_delphis_notes_that_there_is_no_explanation_are_no_explanations(tmp_path: Path) -> None:
    contents = [json.dumps("Explanation could not be parsed."), "cats", '{"text": "cats"}', '" "', '"cats"']
    for feature, content in enumerate(contents):
        (tmp_path / f"layers.9_latent{feature}.txt").write_text(content)
    *bad, outside = read_explanations(explanation_files(tmp_path, None), 4)
    assert [row.problem.split(":")[0] for row in bad if isinstance(row, BadRow)] == [
        "feature 0 has none", "not a text in JSON", "feature 2 has the explanation {'text'",
        "feature 3 has the explanation ' '; allowed is text that is not empty",
    ]  # fmt: skip
    assert isinstance(outside, BadRow) and outside.problem == "feature '4'; allowed are 0 to 3"


def test_of_several_hook_points_one_must_be_named(tmp_path: Path) -> None:
    for name in ("layers.1", "layers.10", "layers.[2]"):
        (tmp_path / f"{name}_latent0.txt").write_text('"a"')
    with pytest.raises(ExchangeError, match=r"\(none was named\).*it has layers\.1, layers\.10, layers\.\[2\]"):
        explanation_files(tmp_path, None)
    for name in ("layers.1", "layers.[2]"):
        assert explanation_files(tmp_path, name) == (tmp_path / f"{name}_latent0.txt",)
    with pytest.raises(ExchangeError, match=r"no single hook point layers\.2 with explanations"):
        explanation_files(tmp_path, "layers.2")
    assert not has_explanations(tmp_path / "nowhere")
