"""What delphi's own code computes from a run's score files. Runs where `eai-delphi` is installed.

    python tests/parity/judged_run.py RUN_FOLDER
    DELPHI/bin/python tests/parity/delphi_metrics.py RUN_FOLDER layers.0 > tests/parity/golden/delphi_metrics.json

Loads with `load_data` and counts with `compute_confusion`, `compute_classification_metrics` and `compute_auc` of
`delphi.log.result_analysis`, once for each feature and once, as "all", for a scorer's features together, as its report does. Prints

    {"package": "eai-delphi 0.1.3",
     "metrics": {"detection": {"0": {"balanced_accuracy", "f1", "precision", "recall", "auroc"}, …, "all": {…}}, "fuzz": {…}}}

`auroc` is null where no window has a probability, or only one class has.
"""

import contextlib
import importlib.metadata
import json
import sys
from pathlib import Path

import pandas as pd
from delphi.log.result_analysis import compute_auc, compute_classification_metrics, compute_confusion, load_data


def metrics(windows: pd.DataFrame) -> dict:
    """The five metrics of judged windows; delphi calls balanced accuracy accuracy."""
    found = compute_classification_metrics(compute_confusion(windows))
    judged = windows[windows.probability.notna()]
    return {
        "balanced_accuracy": float(found["accuracy"]), "f1": float(found["f1_score"]), "precision": float(found["precision"]),
        "recall": float(found["recall"]), "auroc": float(compute_auc(windows)) if judged.activating.nunique() == 2 else None,
    }  # fmt: skip


def main() -> None:
    """Print the metrics of one hook point of a run."""
    folder, hookpoint = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):  # it says that there are no firing counts
        windows, _ = load_data(Path(folder) / "scores", [hookpoint])
    answers = {}
    for scorer, of_scorer in windows.groupby("score_type"):
        by_feature = {str(feature): metrics(own) for feature, own in of_scorer.groupby("latent_idx")}
        answers[scorer] = {**by_feature, "all": metrics(of_scorer)}
    print(json.dumps({"package": f"eai-delphi {importlib.metadata.version('eai-delphi')}", "metrics": answers}, indent=1))


if __name__ == "__main__":
    main()
