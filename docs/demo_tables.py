"""Prints the tables of demo-results.md and the rates of interp_assets/demo/rates.yaml out of a home in which `make demo-full` has run:

python docs/demo_tables.py [HOME]
"""

import argparse
from collections.abc import Mapping, Sequence

import interp_assets as ia
from interp_assets.notebook.lab import Lab

MODEL = "smollm2-135m/09/"
SAE, NEURONS, RANDOM = (f"{MODEL}{name}-full" for name in ("res-2k", "mlp-neurons-top32", "random-2k"))
COLUMNS = (("SAE", SAE, "max_act"), ("neurons", NEURONS, "max_act"), ("random SAE", RANDOM, "max_act"))
SHUFFLED = (("SAE, `shuffled`", SAE, "shuffled"), ("neurons, `shuffled`", NEURONS, "shuffled"))
NONE = "none"
"""Explanation method of scorers that read no explanation."""
SUCCESSES = ("input_based", "output_based")
"""Scorers of the second table whose scores of a feature are successes, counted over features."""

Row = Mapping[str, object]


def scores_of(lab: Lab) -> dict[tuple[str, str, str], Row]:
    """Headline rows of the view scores_by_method by scorer, dictionary and method."""
    rows = lab.sql("SELECT * FROM scores_by_method WHERE headline AND n_features > 0").to_dicts()
    return {(row["scorer"], row["dictionary"], row["explanation_method"]): row for row in rows}


def cell(row: Row | None, interval: bool = True) -> str:
    """A median with its interval, or with the number of features where they are too few for one; a dash without a feature."""
    if row is None or row["median"] is None:
        return "—"
    if row["median_ci_low"] is None or row["median_ci_high"] is None:
        return f"{row['median']:.2f} ({row['n_features']})"
    return f"{row['median']:.2f}" + (f" [{row['median_ci_low']:.2f}, {row['median_ci_high']:.2f}]" if interval else "")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_scorer(scores: Mapping[tuple[str, str, str], Row]) -> str:
    """A row a scorer: its floor, three dictionaries under `max_act`, and two under `shuffled`."""
    rows = []
    for scorer in dict.fromkeys(scorer for scorer, dictionary, _ in scores if dictionary == SAE):
        reads_none = (scorer, SAE, NONE) in scores
        floors = [row["floor"] for (s, d, _), row in scores.items() if s == scorer and d == SAE and row["floor"] is not None]
        cells = [cell(scores.get((scorer, key, NONE if reads_none else method))) for _, key, method in COLUMNS]
        cells += ["—" if reads_none else cell(scores.get((scorer, key, method))) for _, key, method in SHUFFLED]
        if any(one != "—" for one in cells):
            rows.append([f"`{scorer}`", f"{floors[0]:.2f}" if floors else "—", *cells])
    return markdown(["scorer", "floor", *(name for name, *_ in (*COLUMNS, *SHUFFLED))], sorted(rows))


def by_explanation(lab: Lab, scores: Mapping[tuple[str, str, str], Row]) -> str:
    """A row a kind of explanation of the SAE's latents, a column a scorer; successes as counts with their intervals."""
    methods = sorted({method for _, dictionary, method in scores if dictionary == SAE and method != NONE})
    scorers = sorted({scorer for scorer, dictionary, method in scores if dictionary == SAE and method != NONE} - {*SUCCESSES})
    query = f"SELECT * FROM success_by_method WHERE dictionary = '{SAE}' AND origin = 'own'"
    counted = {(row["explanation_method"], row["scorer"]): row for row in lab.sql(query).to_dicts()}
    rows = []
    for method in methods:
        cells = [cell(scores.get((scorer, SAE, method)), interval=False) for scorer in scorers]
        for scorer in SUCCESSES:
            row = counted.get((method, scorer))
            told = f"{row['successes']}/{row['n']}" if row and row["n"] else "—"
            interval = f" [{row['ci_low']:.2f}, {row['ci_high']:.2f}]" if row and row["ci_low"] is not None else ""
            cells.append(told + interval)
        rows.append([f"`{method}`", *cells])
    return markdown(["explanations of the SAE", *(f"`{scorer}`" for scorer in (*scorers, *SUCCESSES))], rows)


def rates(lab: Lab) -> str:
    """What one feature of the SAE costs, by asset."""
    query = f"""
        SELECT asset, count(DISTINCT (feature, explanation_method)) AS n, sum(prompt_tokens) AS prompt,
          sum(completion_tokens) AS completion, sum(seconds) / 3600 AS hours
        FROM ledger WHERE dictionary = '{SAE}' AND asset NOT LIKE 'score_stability%' GROUP BY asset ORDER BY asset
    """
    return "\n".join(
        f"  {row['asset']}: {{n_features: {row['n']}, prompt_tokens: {row['prompt'] / row['n']:.0f}, "
        f"completion_tokens: {row['completion'] / row['n']:.0f}, hours: {row['hours'] / row['n']:.5f}}}"
        for row in lab.sql(query).to_dicts()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", nargs="?", help="the home of the demo (default: INTERP_HOME, or the usual home)")
    lab = ia.open(parser.parse_args().home)
    scores = scores_of(lab)
    print(by_scorer(scores), by_explanation(lab, scores), "rates:\n" + rates(lab), sep="\n\n")


if __name__ == "__main__":
    main()
