"""Every number that a user can change, in frozen classes that refuse unknown keys.

The defaults are the values of the papers; each module of a method in domain/ names its paper. A site changes the values for all its
dictionaries in `$INTERP_HOME/settings.yaml`; the record of a dictionary overrides them under `stages:`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from interp_assets.config.alerts import AlertSettings
from interp_assets.config.base import Closed, UserError, merged, validated
from interp_assets.config.checkpoints import WatchedFolder, refuse_shared_series
from interp_assets.config.keys import check_dictionary_key
from interp_assets.config.local_inputs import folder_content
from interp_assets.config.nearest import nearest_hint
from interp_assets.config.prompt_files import settings_of_prompts
from interp_assets.config.retention import RetentionSettings
from interp_assets.config.yaml_files import BadYaml, parse_yaml, read_text_file
from interp_assets.domain.bounds import ADDED_LATER, PositiveNumber, Seed
from interp_assets.domain.examples.sampling import ExampleSettings
from interp_assets.domain.explaining import DERIVED, EXPLAINERS, METHODS, ExplainingSettings
from interp_assets.domain.prompting.instructions import PROMPTS, refuse_bad_instructions
from interp_assets.domain.ratings.human_correlation import CorrelationSettings
from interp_assets.domain.scoring import SCORERS, Scorer, ScoringSettings, intervention, reads_steering
from interp_assets.domain.stability import StabilitySettings, judges_again, written_again
from interp_assets.domain.steering.strengths import SteeringSettings
from interp_assets.domain.steering.token_changes import TokenChangeSettings
from interp_assets.domain.trials import NO_EXPLANATION, Model
from resources.language_models.interface import Capability

SPEED_OPTIONS = frozenset({
    "concurrency", "timeout_seconds", "max_retries", "max_connection_failures", "backoff_seconds", "api_key_env", "batch_tokens", "device",
    "tensor_parallel_size", "gpu_memory_utilization", "max_num_seqs", "tokenizer", "refuse_other_models",
})  # fmt: skip


class LanguageModelSettings(Closed):
    """Which model answers, and how the model is reached."""

    backend: Literal["transformers", "vllm", "openai", "replay"] = "transformers"
    """How the model is reached: see the back ends in language-models.md."""
    model: str = "embedded:smollm2-135m-instruct"
    """The model's name: a hub id, a local folder, `embedded:<name>` for a packaged model, or the name that a server gives it."""
    revision: str | None = None
    """Commit of the hub repository, or a name for a server's present weights. Without it, the newest commit is taken and recorded."""
    require: tuple[Capability, ...] = ()
    """Abilities that the back end must have. A stage stops before its first question where one is missing. Scores without
    `answer_probabilities` have no AUROC, and a site may not want to pay for such scores."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the back end: see language-models.md."""

    @property
    def versioned_settings(self) -> dict[str, Any]:
        """The settings that can change a reply, and so make a partition stale, with the content of a model in a local folder. Speed and
        address of the model are left out."""
        left_out = SPEED_OPTIONS | ({"base_url"} if self.backend == "openai" else set())
        options = {name: value for name, value in self.options.items() if name not in left_out}
        content = folder_content(self.model) if self.backend in ("transformers", "vllm") else None
        local = {} if content is None else {"content": content}
        return {"backend": self.backend, "model": self.model, "revision": self.revision, "options": options, **local}


class BudgetSettings(Closed):
    """The most that one run may spend on language models."""

    tokens: Annotated[int, Field(gt=0, le=1 << 62)] | None = None
    """Most tokens of prompts and replies together; none means no bound. Unit: tokens."""
    usd: Annotated[float, Field(gt=0)] | None = None
    """Most dollars by the price table; none means no bound. Unit: US dollars."""


class AutomationSettings(Closed):
    """When missing partitions are made without a command."""

    when: Literal["on_missing", "nightly", "never"] = "on_missing"
    """`on_missing`: as soon as a dictionary is registered, stage by stage, each partition once. `nightly`: from the tick of `cron` on, each
    missing partition once a night. `never`: only by hand."""
    cron: str = "0 2 * * *"
    """When a night begins: five fields of cron. Only `nightly` reads it."""
    timezone: str = "UTC"
    """Time zone of `cron`, such as Europe/Berlin."""

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("no such time zone; name one such as UTC, Europe/Berlin or America/New_York") from None
        return timezone

    @field_validator("cron")
    @classmethod
    def _legal_cron(cls, cron: str) -> str:
        from dagster import DagsterInvalidDefinitionError, ScheduleDefinition

        try:
            ScheduleDefinition(name="nightly", job_name="nightly", cron_schedule=cron)
        except DagsterInvalidDefinitionError:
            raise ValueError("not five fields of cron; two in the morning is 0 2 * * *, and on weekdays 0 2 * * 1-5") from None
        return cron


class HarvestSettings(Closed):
    """How the subject model is run, and how many activations are kept."""

    batch_rows: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Contexts that go through the subject model together. Changes speed and memory, but no result. Unit: contexts."""
    self_check_rows: Annotated[int, Field(ge=1, le=65_536)] = 16
    """Contexts on which a dictionary is checked before it is harvested. Unit: contexts."""
    max_activations: Annotated[int, Field(ge=1000, le=1 << 32)] | None = None
    """A feature with more activations keeps its activations in a seeded share of the contexts; its statistics stay exact. None means no
    bound. Unit: activations of a feature."""
    dictionaries_gib: Annotated[PositiveNumber | None, ADDED_LATER] = None
    """Most weights of dictionaries that share a forward pass; more dictionaries make further passes. None means half of the memory of the
    machine, or of its GPU where that is less. Changes memory and speed, but no result. Unit: GiB."""


class NeighbourSettings(Closed):
    """How the nearest features of a feature are found."""

    n_neighbours: Annotated[int, Field(ge=1, le=1000)] = 16
    """Nearest features that are kept for each feature, by each measure. Unit: features."""
    max_pairs: Annotated[int, Field(ge=1, le=1 << 50)] = 2_000_000_000
    """Approximate upper bound on the pairs of firings that co-occurrence compares; two billion take minutes on one core. Above the bound, a
    uniform sample of the token positions is compared. Unit: pairs."""


class MatchingSettings(Closed):
    """With which dictionaries the features are matched."""

    others: tuple[str, ...] = Field(default=(), alias="with")
    """Keys of dictionaries of the same model. The dictionary itself is left out. Empty: no matches are made."""
    n_nearest: Annotated[int, Field(ge=1, le=1000)] = 8
    """Nearest features that are kept in both directions, as candidates for one-to-one matches. Unit: features."""

    @field_validator("others")
    @classmethod
    def _legal_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if repeated := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"{', '.join(repeated)} is listed more than once: name each dictionary once")
        return tuple(map(check_dictionary_key, keys))


class ProjectionSettings(Closed):
    """How a feature's output direction is projected onto the vocabulary (VocabProj, arXiv 2501.08319)."""

    n_tokens: Annotated[int, Field(ge=1, le=1000)] = 50
    """Tokens that are kept at each end of the projection. Unit: tokens."""
    final_norm: bool = True
    """Whether the direction goes through the model's final norm before the unembedding."""


class SentenceEncoderSettings(Closed):
    """The model that turns texts into vectors."""

    source: str = "embedded:all-minilm-l6-v2"
    """`embedded:all-minilm-l6-v2`, or a folder or hub id in the format of sentence-transformers."""
    revision: str | None = None
    """Commit of the hub repository. Without it, the newest commit is taken and recorded."""

    @property
    def versioned_settings(self) -> Any:
        """The settings that can change a vector: all settings, and the content of an encoder in a local folder."""
        content = folder_content(self.source)
        return self if content is None else [self, content]


DEFAULT_SCORES: dict[str, Any] = {"detection": "all", "fuzzing": "all"}


class StageSettings(Closed):
    """One block of settings a stage of the graph, and the explanations and scores that are made at all.

    For a scorer that reads no explanation, anything but `[]` under `scores` means yes.
    """

    harvest: HarvestSettings = HarvestSettings()
    """How the subject model is run (asset `activation_shards`)."""
    neighbours: NeighbourSettings = NeighbourSettings()
    """How the nearest features are found (asset `feature_neighbours`)."""
    examples: ExampleSettings = ExampleSettings()
    """How windows are drawn (asset `examples`)."""
    projection: ProjectionSettings = ProjectionSettings()
    """How features are projected onto the vocabulary (asset `vocabulary_projections`)."""
    matching: MatchingSettings = MatchingSettings()
    """Which dictionaries features are matched with (asset `feature_matches`)."""
    token_change: TokenChangeSettings = TokenChangeSettings()
    """How features are clamped (asset `token_changes`)."""
    steering: SteeringSettings = SteeringSettings()
    """How features are steered (asset `steering`)."""
    explanations: tuple[str, ...] = ("max_act", "shuffled")
    """The explanation methods that are made."""
    explaining: ExplainingSettings = ExplainingSettings()
    """A block of settings for each explanation method."""
    scores: dict[str, Literal["all"] | tuple[str, ...]] = Field(default_factory=lambda: dict(DEFAULT_SCORES))
    """For each scorer the explanation methods that it judges: `all`, a list of methods, or `[]` for none. Laid over the default, key by
    key."""
    scoring: ScoringSettings = ScoringSettings()
    """A block of settings for each scorer."""
    stability: StabilitySettings = StabilitySettings()
    """Whether, and how, scores are taken again (asset `score_stability`)."""
    seed: Seed = 0
    """Seed of every draw after the token sample. Unit: whole number."""

    @field_validator("explanations")
    @classmethod
    def _known_methods(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_unknown("explanation method", methods, METHODS)
        if repeated := sorted({method for method in methods if methods.count(method) > 1}):
            raise ValueError(f"{', '.join(repeated)} is listed more than once: name each method once")
        for derived in DERIVED:
            missing = sorted(set(derived.SOURCES) - set(methods)) if derived.NAME in methods else []
            if missing:
                raise ValueError(f"{derived.NAME} is made out of {', '.join(missing)}: add it to explanations, or leave {derived.NAME} out")
        return methods

    @field_validator("scores", mode="before")
    @classmethod
    def _over_the_default(cls, scores: Any) -> Any:
        if not isinstance(scores, dict):
            raise ValueError("name scorers with the methods that each scorer judges, such as {detection: all, intruder: all, fuzzing: []}")
        for scorer, methods in scores.items():
            if methods != "all" and not isinstance(methods, list | tuple):
                raise ValueError(f"{scorer} judges all, a list of explanation methods, or none ([]); {methods!r} is none of these")
        return {**DEFAULT_SCORES, **scores}

    @model_validator(mode="after")
    def _known_scores(self) -> "StageSettings":
        _refuse_unknown("scorer", self.scores, [scorer.NAME for scorer in SCORERS])
        for scorer, methods in self.scores.items():
            _refuse_unknown(f"explanation method of {scorer} among `explanations`", () if methods == "all" else methods, self.explanations)
        return self

    @model_validator(mode="after")
    def _legal_instructions(self) -> "StageSettings":
        for name, prompt in PROMPTS.items():
            text = getattr(getattr(getattr(self, prompt.block), prompt.method), prompt.setting)
            if text is not None:
                try:
                    refuse_bad_instructions(name, text)
                except ValueError as error:
                    raise ValueError(f"{prompt.block}.{prompt.method}.{prompt.setting}: {error}") from None
        return self

    @model_validator(mode="after")
    def _breadth_is_asked_for(self) -> "StageSettings":
        for method in ("max_act", "candidates"):
            own = getattr(self.explaining, method)
            if own.breadth != "all" and own.instructions is not None and "{breadth}" not in own.instructions:
                raise ValueError(
                    f"explaining.{method}.breadth: {own.breadth} changes nothing, since the instructions in place of the packaged ones "
                    "have no {breadth}: put {breadth} into their text, or leave the setting out"
                )
        return self

    @model_validator(mode="after")
    def _reasons_are_asked_for(self) -> "StageSettings":
        for scorer in ("intruder", "output_based"):
            own = getattr(self.scoring, scorer)
            if own.reason and own.instructions is not None and "{reply}" not in own.instructions:
                raise ValueError(
                    f"scoring.{scorer}.reason: true changes nothing, since the instructions in place of the packaged ones have no "
                    "{reply}, where the judge is told to reason: put {reply} into their text, or leave the setting out"
                )
        return self

    @model_validator(mode="after")
    def _something_to_choose_by(self) -> "StageSettings":
        if self.examples.n_validation == 0:
            for chooser in (explainer.NAME for explainer in EXPLAINERS if explainer.CHOOSES and explainer.NAME in self.explanations):
                raise ValueError(
                    f"{chooser} chooses by validation windows and examples.n_validation is 0: set it, to 30 say, or leave {chooser} out of "
                    "explanations"
                )
        return self

    @model_validator(mode="after")
    def _steering_to_score_by(self) -> "StageSettings":
        asked_for = [scorer for scorer in SCORERS if reads_steering(scorer) and self.scored(scorer)]
        for scorer in asked_for:
            leave = f"or leave {scorer.NAME} out of scores"
            if not self.steering.enabled:
                raise ValueError(f"{scorer.NAME} reads what steering writes, and steering is off: set steering: {{enabled: true}}, {leave}")
            if "steered" in scorer.READS and not self.steering.n_scoring_prompts:
                raise ValueError(f"{scorer.NAME} reads scoring prompts and steering.n_scoring_prompts is 0: set it, to 30 say, {leave}")
            if "steered_sets" in scorer.READS and not self.steering.fixed.prompts:
                raise ValueError(
                    f"{scorer.NAME} reads completions of fixed prompts and steering.fixed.prompts is empty: give some, {leave}"
                )
        target, targets = self.scoring.intervention.kl_target, self.steering.kl_targets
        if intervention in asked_for and target not in targets:
            raise ValueError(f"scoring.intervention.kl_target is {target:g}: take one of steering.kl_targets, {list(targets)}")
        return self

    @model_validator(mode="after")
    def _something_to_read_of_steering(self) -> "StageSettings":
        for name in (one.NAME for one in EXPLAINERS if "steering" in one.READS and one.NAME in self.explanations):
            target = getattr(self.explaining, name).target_kl
            if not self.steering.enabled or target not in self.steering.kl_targets:
                there = f"kl_targets {list(self.steering.kl_targets)}" if self.steering.enabled else "nothing: it is not enabled"
                raise ValueError(
                    f"{name} reads what steering does at target_kl {target:g}, and steering has {there}. Set steering: {{enabled: true, "
                    f"kl_targets: [{target:g}]}}, or leave {name} out of explanations"
                )
        return self

    @model_validator(mode="after")
    def _something_to_take_again(self) -> "StageSettings":
        if self.stability.n_features:
            method = written_again(self.stability.method).NAME
            if method not in self.explanations:
                raise ValueError(f"stability.method is {method}, which is not among explanations: add it there, or name another")
            if not self.taken_again:
                raise ValueError(
                    f"stability takes scores of {method} again, and no scorer that can be asked again has any: ask for one, such as "
                    f"scores: {{detection: [{method}]}}, or set stability.n_features to 0"
                )
        return self

    @property
    def taken_again(self) -> tuple[Scorer, ...]:
        """The scorers whose scores are taken again; none where `stability.n_features` is 0."""
        if not self.stability.n_features:
            return ()
        return tuple(scorer for scorer in SCORERS if judges_again(scorer, self.scored(scorer), self.stability.method))

    def scored(self, scorer: Scorer) -> tuple[str, ...]:
        """The explanation methods that a scorer judges; (NO_EXPLANATION,) for a scorer that reads no explanation, where its scores are
        asked for."""
        chosen = self.scores.get(scorer.NAME, ())
        if "explanation" not in scorer.READS:
            return (NO_EXPLANATION,) if chosen else ()
        return self.explanations if chosen == "all" else tuple(method for method in self.explanations if method in chosen)


class PlatformSettings(Closed):
    """The content of `$INTERP_HOME/settings.yaml`. A missing file means these defaults: the embedded model on this machine."""

    explainer: LanguageModelSettings = LanguageModelSettings()
    """The model that writes explanations."""
    scorer: LanguageModelSettings = LanguageModelSettings()
    """The model that judges explanations."""
    generator: LanguageModelSettings | None = None
    """The model that writes texts on which a feature should fire by its explanation. Without it, the explainer writes these texts."""
    base: LanguageModelSettings | None = None
    """The model that gives the likelihood of texts. Without it, the scorer does. A base model does this better than an instruct model."""
    sentence_encoder: SentenceEncoderSettings = SentenceEncoderSettings()
    """The model that turns texts into vectors."""
    human_correlations: CorrelationSettings = CorrelationSettings()
    """How the report on human ratings is computed."""
    budget: BudgetSettings = BudgetSettings()
    """The most that one run may spend on language models."""
    automation: AutomationSettings = AutomationSettings()
    """When missing partitions are made without a command."""
    watch: tuple[WatchedFolder, ...] = ()
    """Folders into which training runs write checkpoints: each checkpoint is registered by itself. One folder, or a list."""
    alerts: AlertSettings = AlertSettings()
    """Alerts by webhook or mail about failed runs, spent budgets and checks that did not pass."""
    retention: RetentionSettings = RetentionSettings()
    """What `interp thin` removes."""
    stages: dict[str, Any] = Field(default_factory=dict)
    """Stage settings of all dictionaries of this site. A record's own `stages:` are laid over them, key by key."""

    @field_validator("watch", mode="before")
    @classmethod
    def _one_or_several(cls, watch: Any) -> Any:
        return [watch] if isinstance(watch, dict) else watch

    @field_validator("watch")
    @classmethod
    def _keys_of_their_own(cls, watch: tuple[WatchedFolder, ...]) -> tuple[WatchedFolder, ...]:
        refuse_shared_series(watch)
        return watch

    @classmethod
    def read(cls, path: Path) -> "PlatformSettings":
        """Settings of a site; defaults when `path` does not exist. Prompts in the folder `prompts` beside the file count as settings of
        their methods, below the file's own. Raises `UserError` naming the file and the key."""
        try:
            content = (parse_yaml(read_text_file(path)) or {}) if path.exists() else {}
        except BadYaml as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}. Give this user the right to read it.") from None
        settings = validated(cls, content, str(path))
        settings = settings.model_copy(update={"stages": merged(settings_of_prompts(path.parent), settings.stages)})
        settings.stage_settings({})
        return settings

    def model_of(self, model: Model) -> LanguageModelSettings | SentenceEncoderSettings | None:
        """The settings of the model that answers a scorer; None where the machine itself answers."""
        if model == "machine":
            return None
        if model == "encoder":
            return self.sentence_encoder
        return {"scorer": self.scorer, "generator": self.generator or self.explainer, "base": self.base or self.scorer}[model]

    def stage_settings(self, overrides: dict[str, Any]) -> StageSettings:
        """Stage settings of one dictionary: defaults, then the settings of the site, then the record's `overrides`."""
        return validated(StageSettings, merged(self.stages, overrides), "stages")


def _refuse_unknown(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ValueError naming the first unknown name, and the known names."""
    for name in names:
        if name not in known:
            raise ValueError(f"there is no {what} named {name!r}; there are {', '.join(known)}{nearest_hint(name, known)}")
