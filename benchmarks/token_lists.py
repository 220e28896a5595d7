"""CPU time of matching a dictionary's token lists with its held-out windows. Made-up windows and lists; no model.

python benchmarks/token_lists.py
"""

import argparse
import json
import time

import numpy as np

from interp_assets.domain.machine_readable import matched_in_windows
from interp_assets.domain.machine_readable.token_lists import TokenList

N_WINDOWS, WINDOW_TOKENS, N_TOKENS, VOCABULARY = 20, 24, 10, 20_000


def seconds(n_features: int) -> float:
    """Least CPU seconds of three turns: all lists against all windows."""
    rng = np.random.default_rng(0)
    words = np.array([f" w{number}" for number in range(VOCABULARY)])
    cases = []
    for _ in range(n_features):
        listed = TokenList(tuple(dict.fromkeys(word.strip() for word in words[rng.integers(0, VOCABULARY, N_TOKENS)].tolist())))
        cases.append((listed, [tuple(row) for row in words[rng.integers(0, VOCABULARY, (N_WINDOWS, WINDOW_TOKENS))].tolist()]))
    found = []
    for _ in range(3):
        started = time.process_time()
        matched_in_windows(cases)
        found.append(time.process_time() - started)
    return min(found)


def main() -> None:
    """Print the time of a dictionary, of a feature, and both as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="256 features instead of 2,048")
    n_features = 256 if parser.parse_args().quick else 2048
    took = seconds(n_features)
    each = f"{N_WINDOWS} windows of {WINDOW_TOKENS} tokens each"
    print(f"{n_features:,} features, {each}: {took:.2f} s, {1000 * took / n_features:.2f} ms a feature")
    print(json.dumps({"n_features": n_features, "cpu_seconds": round(took, 3)}))


if __name__ == "__main__":
    main()
