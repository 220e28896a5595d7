"""The questions that were asked about one feature, with their replies: the ledger has the address of each reply, and the question is
planned again from the same windows and settings."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from interp_assets.asking.questions import request_of
from interp_assets.assets.explanations.explainer_inputs import read_explainer_inputs
from interp_assets.assets.scores.scorer_inputs import planned_cases
from interp_assets.config.asset_names import is_named
from interp_assets.config.directions import DirectedRecord, Directions
from interp_assets.config.keys import RangeKey, lake_partition
from interp_assets.config.settings import StageSettings
from interp_assets.domain.explaining import EXPLAINERS
from interp_assets.domain.prompting.prompts import Prompt
from interp_assets.domain.scoring import SAMPLED, SCORERS, Scorer
from interp_assets.domain.scoring.shared.asked_again import asked_again, sampled_items
from interp_assets.domain.trials import Trial, deal_of
from interp_assets.installation.home import Home
from interp_assets.measuring.answerer import Planned
from interp_assets.orchestration.range_partition import RangePartition
from interp_assets.tables import EXPLANATIONS, LEDGER, TRIALS
from resources.language_models.interface import Reply, Request, request_key
from resources.store.lake import LakeError

ASKING = (*(f"explanations/{one.NAME}" for one in EXPLAINERS), *(f"scores/{one.NAME}" for one in SCORERS))


@dataclass(frozen=True)
class AskedQuestion:
    """One question about a feature: `key` is the content address of the reply, "" where no reply came.

    `request` is None where the question cannot be planned again, since settings or prompts changed after it was asked. `reply` is None
    where the reply store has it no more.
    """

    asset: str
    explanation_method: str
    model: str
    key: str
    request: Request | None
    reply: Reply | None


def asked_questions(home: Home, key: str, feature: int, only: Sequence[str] = ()) -> Iterator[AskedQuestion]:
    """Every question about a feature that stands in the ledger, asset by asset, in the order asked; with `only` of assets that it names."""
    record = home.registry.get(key)
    here = record.range_of(feature)
    directed = DirectedRecord.of(record, Directions(frozenset({feature})))
    store = home.replies
    identities = store.identities()
    for asset in ASKING:
        in_lake = {"asset": asset, **lake_partition(here)}
        if (only and not is_named(asset, only)) or home.lake.manifest(LEDGER.name, in_lake) is None:
            continue
        rows = home.lake.read(LEDGER.name, in_lake, filters=[("feature", "=", feature)]).to_pylist()
        stages = _made(home, here, home.settings.stage_settings(record.stages))
        planned = list(_planned(home, asset, RangePartition(here, directed, stages, "", {}))) if rows else []
        requests: dict[str, Request] = {}
        for model in {row["model"] for row in rows}:
            for identity in (one for one in identities if one.model == model):
                requests |= {request_key(identity, request): request for request in planned}
        replies = store.get_many(row["reply"] for row in rows if row["reply"])
        for row in sorted(rows, key=lambda row: row["question"]):
            address = row["reply"] or ""
            yield AskedQuestion(asset, row["explanation_method"], row["model"], address, requests.get(address), replies.get(address))


def _planned(home: Home, asset: str, partition: RangePartition) -> Iterator[Request]:
    """The requests of an asset about the features of a partition, as its settings plan them; none where an input is missing or the
    method's own code fails."""
    stage, _, name = asset.partition("/")
    try:
        if stage == "explanations":
            (explainer,) = (one for one in EXPLAINERS if name == one.NAME)
            for _, explainer_input in read_explainer_inputs(home.lake, partition, explainer):
                prompts = explainer.plan(explainer_input, partition.settings.explaining.of(explainer), partition.settings.seed)
                yield from () if isinstance(prompts, str) else map(request_of, prompts)
            return
        (scorer,) = (one for one in SCORERS if name == one.NAME)
        for case in planned_cases(home.lake, scorer, partition):
            trials = _sampled(home, scorer, case) or case.trials
            yield from (request_of(trial.question) for trial in trials if isinstance(trial.question, Prompt))
    except LakeError as error:
        logging.getLogger(__name__).warning(f"questions of {asset} cannot be planned again: {error}")


def _sampled(home: Home, scorer: Scorer, case: Planned) -> tuple[Trial, ...]:
    """The trials about a sample of the windows, where a scorer input was asked about a sample; else none."""
    sampled = next((one for one in SAMPLED if one.NAME == scorer.NAME), None)
    if sampled is None or case.scorer_input is None or not case.trials:
        return ()
    deal = deal_of(case.trials[0].trial_id)
    here = {"scorer": scorer.NAME, **lake_partition(case.partition.key)}
    own = [("feature", "=", case.scorer_input.feature)]
    rows = home.lake.read(TRIALS.name, here, columns=["explanation_method", "trial", "outcome", "example_ids", "truths"], filters=own)
    method = case.scorer_input.method
    asked = sampled_items([row for row in rows.to_pylist() if row["explanation_method"] == method and deal_of(row["trial"]) == deal])
    settings = case.partition.settings
    return () if asked is None else asked_again(sampled, case.scorer_input, asked, settings.scoring.of(scorer), settings.seed)


def _made(home: Home, here: RangeKey, stages: StageSettings) -> StageSettings:
    """The settings with the explanation methods alone that are made in a range."""
    there = tuple(
        method
        for method in stages.explanations
        if home.lake.manifest(EXPLANATIONS.name, {"explanation_method": method, **lake_partition(here)}) is not None
    )
    scores = {name: chosen if chosen == "all" else tuple(one for one in chosen if one in there) for name, chosen in stages.scores.items()}
    return stages.model_copy(update={"explanations": there, "scores": scores})
