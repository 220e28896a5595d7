"""Reading back what earlier stages wrote about the features of one range: examples and explanations as the domain's own types."""

from collections import defaultdict
from dataclasses import dataclass

from interp_assets.domain.sampling import Example
from interp_assets.domain.token_numbers import TokenNumbers
from interp_assets.domain.trials import Explanation
from interp_assets.partitions import RangeKey
from interp_assets.stages import cell_partition
from interp_assets.tables import EXAMPLES, EXPLANATIONS, FEATURE_EXAMPLES
from resources.lake import Lake


@dataclass(frozen=True)
class FeatureEvidence:
    """One feature's examples as written; `outcome` is that of feature_examples, `token_texts` the text of every token id in them.

    A token that has no id in the subject's vocabulary has a negative number here, one for each text.
    """

    feature: int
    outcome: str
    examples: tuple[Example, ...]
    token_texts: dict[int, str]

    def of_role(self, role: str) -> tuple[Example, ...]:
        """Examples of one role, in the order written."""
        return tuple(example for example in self.examples if example.role == role)


def read_evidence(lake: Lake, key: RangeKey) -> list[FeatureEvidence]:
    """Evidence on every feature of a range, ascending; features without examples have their outcome and no examples."""
    examples: dict[int, list[Example]] = defaultdict(list)
    numbers = TokenNumbers()
    for row in lake.read(EXAMPLES.name, cell_partition(key)).to_pylist():
        examples[row["feature"]].append(
            Example(
                example_id=row["example_id"], feature=row["feature"], role=row["role"], kind=row["kind"], sampling=row["sampling"],
                stratum=row["stratum"], row=row["row"], start=row["start"], token_ids=numbers.numbered(row["token_ids"], row["tokens"]),
                activations=tuple(row["activations"]),
            )
        )  # fmt: skip
    outcomes = lake.read(FEATURE_EXAMPLES.name, cell_partition(key), columns=["feature", "outcome"]).to_pylist()
    return [
        FeatureEvidence(row["feature"], row["outcome"], tuple(examples[row["feature"]]), numbers.texts)
        for row in sorted(outcomes, key=lambda row: row["feature"])
    ]


def read_explanations(lake: Lake, key: RangeKey, method: str) -> dict[int, Explanation]:
    """Explanations of a range by one method, by feature."""
    rows = lake.read(EXPLANATIONS.name, {"explanation_method": method, **cell_partition(key)}).to_pylist()
    return {
        row["feature"]: Explanation(
            feature=row["feature"], method=method, text=row["explanation"], outcome=row["outcome"], raw_reply=row["raw_reply"] or "",
            prompt_version=row["prompt_version"], donor_feature=row["donor_feature"],
        )
        for row in rows
    }  # fmt: skip
