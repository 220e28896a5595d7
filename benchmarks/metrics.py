"""CPU time of one feature's metrics: ours, with a thousand bootstrap replicates, beside scikit-learn's value alone. No model.

    python benchmarks/metrics.py [--quick]

The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from interp_assets.domain.statistics.metrics import prediction_metrics, probability_metrics

N_BOOTSTRAP = 1000


def milliseconds(work: Callable[[], object], turns: int) -> float:
    """Least CPU time of some turns."""
    found = []
    for _ in range(turns):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return 1000 * min(found)


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 turns each: a few seconds")
    turns = 5 if parser.parse_args().quick else 50
    truth = np.arange(200) < 100
    score = np.round(np.random.default_rng(0).random(200) / 2 + 0.3 * truth, 2)
    prediction = score > 0.5
    rows = {
        "AUROC, average precision, with intervals": lambda: probability_metrics(truth, score, N_BOOTSTRAP, np.random.default_rng(0)),
        "AUROC, average precision by scikit-learn": lambda: (roc_auc_score(truth, score), average_precision_score(truth, score)),
        "four metrics of predictions, with intervals": lambda: prediction_metrics(truth, prediction, N_BOOTSTRAP, np.random.default_rng(0)),
        "balanced accuracy, F1 by scikit-learn": lambda: (balanced_accuracy_score(truth, prediction), f1_score(truth, prediction)),
    }
    figures = {name: round(milliseconds(work, turns), 3) for name, work in rows.items()}
    for name, value in figures.items():
        print(f"{name:45}{value:8.2f} ms")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
