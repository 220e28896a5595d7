"""`activation_shards`: every non-zero activation, sorted by feature. Writes the tables activations and feature_statistics."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import dagster as dg

from interp_assets.assets.activation_shards.shards import ShardWriter, feature_edges, shards_are_current, write_threads
from interp_assets.config.base import fingerprint
from interp_assets.config.keys import FEATURE_RANGE_KEYS
from interp_assets.config.records import DictionaryRecord
from interp_assets.config.registry import DictionaryRegistry
from interp_assets.config.settings import HarvestSettings, PlatformSettings
from interp_assets.exchange.imported_files import DelphiActivations
from interp_assets.measuring.harvest import (
    LoadedDictionary,
    checked_dictionary,
    dictionary_of,
    first_batch,
    hooks_of,
    memory_for_dictionaries,
    notes_of,
    spill_activations,
    weight_bytes,
)
from interp_assets.measuring.planted import PlantedActivations
from interp_assets.orchestration.dictionary_run import DictionaryRun
from interp_assets.orchestration.partitions import SUBJECT_POOL
from interp_assets.orchestration.stage_assets import dictionary_asset
from interp_assets.orchestration.stage_progress import progress_of
from interp_assets.orchestration.versions import HARVEST_CODE_VERSION, activations_version
from interp_assets.reading.token_sample import TokenSample, read_token_sample
from interp_assets.reporting.histograms import distribution_plot
from interp_assets.reporting.materialisation import markdown, markdown_table, path_lines
from interp_assets.tables import ACTIVATIONS, DICTIONARY_SAMPLES, FEATURE_STATISTICS
from resources.dictionaries import Dictionary
from resources.model_provider import ModelProvider
from resources.store.activation_spill import ActivationSpill
from resources.store.lake import Lake
from resources.subject.model import SubjectModel

PREVIEWED_FEATURES = 8
PREVIEWED_COLUMNS = ["feature", "firing_count", "token_density", "max_activation", "top_tokens", "kept_contexts_share"]


@dictionary_asset(
    ACTIVATIONS,
    deps=["token_sample"],
    group_name="activations",
    kinds={"python", "pytorch", "parquet"},
    pool=SUBJECT_POOL,
    code_version=HARVEST_CODE_VERSION,
    check_specs=[
        dg.AssetCheckSpec("statistics_agree_with_shards", asset="activation_shards", blocking=True),
        dg.AssetCheckSpec("some_features_fire", asset="activation_shards", description="at most half of the selected features are dead"),
    ],
)
def activation_shards(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[DictionaryRegistry],
    models: dg.ResourceParam[ModelProvider],
    settings: dg.ResourceParam[PlatformSettings],
    spill_folder: dg.ResourceParam[Path],
) -> dg.MaterializeResult:
    """The subject's activations through each dictionary, with exact statistics of every selected feature.

    Dictionaries on the same model and token sample share one forward pass, or as few passes as memory allows for their weights
    (`harvest.dictionaries_gib`). A pass ends at the deepest hook. A killed run continues where its spill on disk ends. Two
    kinds need no model: the activations of an imported delphi cache come from the files of the cache, and the activations of a planted
    dictionary come from its rules. A dictionary of imported examples has no activations.
    """
    run = DictionaryRun(context)
    groups: dict[tuple, dict[str, DictionaryRecord]] = defaultdict(dict)
    for key in run.keys:
        with run.failing_alone(key):
            record = registry.get(key)
            sample_version = lake.require(DICTIONARY_SAMPLES.name, {"dictionary": key}).data_version
            stages = settings.stage_settings(record.stages)
            version = run.versions[key] = activations_version(record, stages, sample_version)
            if shards_are_current(lake, key, version):
                context.log.info(f"{key}: activations are already complete and are kept")
            elif not record.has_activations:
                context.log.info(f"{key}: its examples are imported, so it has no activations")
                _write_none(lake, key, version, sample_version)
            elif not record.reads_hook:
                context.log.info(f"{key}: activations from {record.source or 'rules over the text'}")
                sample, tokenizer = read_token_sample(lake, key), models.tokenizer(record.model.source, record.model.revision)
                given = (DelphiActivations if record.imported else PlantedActivations)(record, sample, tokenizer)
                ShardWriter(lake, record, sample, tokenizer, version, stages.harvest.max_activations, stages.seed).write(given)
                if isinstance(given, DelphiActivations):
                    run.report(key, given.provenance)
            else:
                groups[record.model.source, record.model.revision, record.model.dtype, sample_version][key] = record
    for records in groups.values():
        with run.failing_alone(*records):
            _harvest(run, records, lake, models, settings, spill_folder)
    return run.result(_report(run, lake, registry, settings))


def _harvest(
    run: DictionaryRun,
    records: dict[str, DictionaryRecord],
    lake: Lake,
    models: ModelProvider,
    settings: PlatformSettings,
    spill_folder: Path,
) -> None:
    """Passes of the subject model over the token sample of `records`: one pass, or as many as their weights need that memory does not hold
    together. A dictionary that does not load fails alone."""
    log, first, left, n_passes = run.context.log, next(iter(records.values())), dict(records), 0
    harvest = settings.stage_settings(first.stages).harvest
    sample = read_token_sample(lake, first.key)
    while left:
        dictionaries = _loaded_together(run, left, models, memory_for_dictionaries(harvest))
        if not dictionaries:
            return
        for key in dictionaries:
            del left[key]
        n_passes += 1
        if left or n_passes > 1:
            log.info(f"pass {n_passes}: {len(dictionaries)} dictionaries in memory, {len(left)} are left for later passes")
        together = {key: records[key] for key in dictionaries}
        with run.failing_alone(*together):
            _pass(run, together, dictionaries, sample, lake, models, settings, spill_folder)
    log.info(f"{first.model.source}: {len(records)} dictionaries in {n_passes} forward passes")


def _loaded_together(run: DictionaryRun, left: dict[str, DictionaryRecord], models: ModelProvider, n_bytes: int) -> dict[str, Dictionary]:
    """The first of the dictionaries in `left`, on the CPU, whose weights are `n_bytes` together; one where it alone has more.

    Dictionaries that do not load are taken out of `left`.
    """
    dictionaries: dict[str, Dictionary] = {}
    held = 0
    for key, record in list(left.items()):
        dictionary = None
        with run.failing_alone(key):
            dictionary = dictionary_of(record, models)
        if dictionary is None:
            del left[key]
            continue
        held += weight_bytes(dictionary)
        if dictionaries and held > n_bytes:
            break
        dictionaries[key] = dictionary
    return dictionaries


def _pass(
    run: DictionaryRun,
    records: dict[str, DictionaryRecord],
    dictionaries: dict[str, Dictionary],
    sample: TokenSample,
    lake: Lake,
    models: ModelProvider,
    settings: PlatformSettings,
    spill_folder: Path,
) -> None:
    """One pass of the subject model over the token sample for all of `dictionaries`, which are freed after it, and their shards."""
    log, first = run.context.log, next(iter(records.values()))
    harvest = settings.stage_settings(first.stages).harvest
    with ExitStack() as held:
        model = first.model
        with closing(models.subject(model.source, model.revision, model.dtype, hooks_of(dictionaries.values()))) as subject:
            first_values = first_batch(subject, sample, dictionaries.values(), harvest)
            loaded = _checked(run, subject, sample, records, dictionaries, harvest, first_values)
            dictionaries.clear()  # loaded dictionaries are on the model's device
            if not loaded:
                return
            log.info(f"{first.model.source}: one pass over {sample.tokens.size:,} tokens for {', '.join(loaded)}")
            folder = spill_folder / fingerprint(sample.sample, {key: run.versions[key] for key in loaded})
            edges = {key: feature_edges(records[key]) for key in loaded}
            spill = held.enter_context(ActivationSpill(folder, edges, sample.tokens.shape[1]))
            on_progress = progress_of(run.context, "tokens harvested")
            spill_activations(subject, sample, loaded, spill, harvest, log.info, on_progress, first_values)
            first_values.clear()
        keys = list(loaded)
        loaded.clear()  # frees the weights of the dictionaries on the GPU before the sort
        tokenizer = models.tokenizer(first.model.source, first.model.revision)
        for key in keys:
            stages = settings.stage_settings(records[key].stages)
            with run.failing_alone(key):
                cap = stages.harvest.max_activations
                writer = ShardWriter(lake, records[key], sample, tokenizer, run.versions[key], cap, stages.seed)
                writer.write(spill, write_threads(), progress_of(run.context, f"{key}: feature ranges written"))
                run.report(key, {"dictionaries_in_pass": len(keys)})
        if not run.failures.keys() & set(keys):
            spill.remove()


def _checked(
    run: DictionaryRun,
    subject: SubjectModel,
    sample: TokenSample,
    records: dict[str, DictionaryRecord],
    dictionaries: dict[str, Dictionary],
    settings: HarvestSettings,
    first_values: Mapping[str, Any],
) -> dict[str, LoadedDictionary]:
    """The dictionaries that pass their self-check. `first_values` are the values of `first_batch`."""
    loaded: dict[str, LoadedDictionary] = {}
    probed = dict(first_values)
    left = list(dictionaries.values())
    for key, dictionary in dictionaries.items():
        needed = hooks_of(left)
        probed = {hook: value for hook, value in probed.items() if hook in needed}
        del left[0]
        with run.failing_alone(key):
            loaded[key] = one = checked_dictionary(subject, sample, records[key], dictionary, settings, probed)
            run.report(key, {"self_check_l0": one.l0, **({} if one.fvu is None else {"self_check_fvu": one.fvu})})
            run.context.log.info(f"{key}: self-check L0 {one.l0:.1f}, FVU {'none' if one.fvu is None else f'{one.fvu:.3f}'}")
            for note in notes_of(one.dictionary):
                run.context.log.warning(f"{key}: {note}")
    return loaded


def _write_none(lake: Lake, key: str, version: str, sample_version: str) -> None:
    """Write complete ranges without rows for a dictionary whose examples are imported.

    Later stages depend on the imported files through the data version of these ranges.
    """
    for feature_range in FEATURE_RANGE_KEYS:
        partition = {"dictionary": key, "feature_range": feature_range}
        for table in (ACTIVATIONS, FEATURE_STATISTICS):
            lake.write(table.name, partition, table.schema, table.schema.empty_table(), version, {DICTIONARY_SAMPLES.name: sample_version})


def _report(run: DictionaryRun, lake: Lake, registry: DictionaryRegistry, settings: PlatformSettings) -> list[dg.AssetCheckResult]:
    """Metadata of every dictionary that was made, and the checks over all of them."""
    disagreeing: list[str] = []
    mostly_dead: list[str] = []
    for key in run.made:
        rows, size, counted, capped, densities, lines, dead = 0, 0, 0, 0, [], [], 0
        for feature_range in FEATURE_RANGE_KEYS:
            partition = {"dictionary": key, "feature_range": feature_range}
            manifest = lake.require(ACTIVATIONS.name, partition)
            rows, size = rows + manifest.rows, size + manifest.bytes
            found = lake.read(FEATURE_STATISTICS.name, partition, columns=PREVIEWED_COLUMNS)
            firing, share = (found.column(name).to_numpy() for name in ("firing_count", "kept_contexts_share"))
            counted += int(firing[share == 1].sum())
            capped += int((share < 1).sum())
            dead += int((firing == 0).sum())
            densities += found.column("token_density").to_pylist()
            lines += [_line(row) for row in found.slice(0, PREVIEWED_FEATURES - len(lines)).to_pylist()]
        cap = settings.stage_settings(registry.get(key).stages).harvest.max_activations or 0
        if not counted <= rows <= counted + capped * cap:
            disagreeing.append(f"{key}: statistics count {counted} rows and {capped} features capped at {cap}, shards hold {rows}")
        if dead > len(densities) / 2:
            mostly_dead.append(f"{key}: {dead} of {len(densities)} features never fire")
        plot = distribution_plot({key: densities}, "share of tokens on which a feature fires", "Activation density", log_x=True)
        table = markdown_table(["feature", "firings", "density", "max", "top tokens"], lines)
        run.report(
            key,
            {
                "dagster/partition_row_count": rows, "activations": rows, "bytes": size, "bytes_per_activation": size / max(rows, 1),
                "features": len(densities), "dead_features": dead, "capped_features": capped,
                "activation_density": markdown(plot), "preview": markdown(table),
                "path_in_lake": path_lines(lake.relative_path(ACTIVATIONS.name, {"dictionary": key})),
            },
        )  # fmt: skip
    return [
        dg.AssetCheckResult(check_name="statistics_agree_with_shards", passed=not disagreeing, metadata={"disagreeing": disagreeing}),
        dg.AssetCheckResult(
            check_name="some_features_fire",
            passed=not mostly_dead,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"mostly_dead": mostly_dead},
        ),
    ]


def _line(row: dict) -> tuple:
    top = " ".join(f"`{entry['token'].strip() or '␣'}`" for entry in row["top_tokens"][:6])
    return row["feature"], row["firing_count"], row["token_density"], row["max_activation"], top
