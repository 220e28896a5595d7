"""`activation_shards`: every non-zero activation, sorted by feature. Writes the tables activations and feature_statistics."""

from collections import defaultdict
from pathlib import Path

import dagster as dg

from interp_assets.cells import dictionary_asset, progress_of
from interp_assets.dictionaries import DictionaryRecord, DictionaryRegistry
from interp_assets.harvest import checked_dictionaries, spill_activations
from interp_assets.imports import DelphiActivations
from interp_assets.partitions import FEATURE_RANGE_KEYS, SUBJECT_POOL
from interp_assets.planting import PlantedActivations
from interp_assets.reporting import distribution_plot, markdown, markdown_table
from interp_assets.samples import read_token_sample
from interp_assets.settings import PlatformSettings, fingerprint
from interp_assets.shards import ShardWriter, feature_edges, shards_are_current
from interp_assets.stages import HARVEST_CODE_VERSION, activations_version
from interp_assets.tables import ACTIVATIONS, DICTIONARY_SAMPLES, FEATURE_STATISTICS
from resources.activation_spill import ActivationSpill
from resources.lake import Lake
from resources.model_provider import ModelProvider

PREVIEWED_FEATURES = 20
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

    Dictionaries on the same model and token sample share one forward pass, which ends at the deepest hook. A killed run continues
    where its spill on disk ends. The activations of an imported delphi cache come from its files, and those of a planted dictionary
    from its rules, without a model; a dictionary of imported examples has none.
    """
    versions: dict[str, str] = {}
    groups: dict[tuple, dict[str, DictionaryRecord]] = defaultdict(dict)
    for key in context.partition_keys:
        record = registry.get(key)
        sample_version = lake.require(DICTIONARY_SAMPLES.name, {"dictionary": key}).data_version
        versions[key] = activations_version(record, settings.stage_settings(record.stages), sample_version)
        if shards_are_current(lake, key, versions[key]):
            context.log.info(f"{key}: activations are already complete and are kept")
        elif not record.has_activations:
            context.log.info(f"{key}: its examples are imported, so it has no activations")
            _write_none(lake, key, versions[key], sample_version)
        elif not record.reads_hook:
            context.log.info(f"{key}: activations from {record.source or 'rules over the text'}")
            sample, tokenizer = read_token_sample(lake, key), models.tokenizer(record.model.source, record.model.revision)
            stages = settings.stage_settings(record.stages)
            cap = stages.harvest.max_activations
            given = (DelphiActivations if record.imported else PlantedActivations)(record, sample, tokenizer)
            ShardWriter(lake, record, sample, tokenizer, versions[key], cap, stages.seed).write(given)
            if isinstance(given, DelphiActivations):
                context.add_asset_metadata(given.provenance, partition_key=key)
        else:
            groups[record.model.source, record.model.revision, record.model.dtype, sample_version][key] = record
    for (source, revision, dtype, _), records in groups.items():
        harvest_settings = settings.stage_settings(next(iter(records.values())).stages).harvest
        sample = read_token_sample(lake, next(iter(records)))
        folder = spill_folder / fingerprint(sample.sample, {key: versions[key] for key in records})
        context.log.info(f"{source}: one pass over {sample.tokens.size:,} tokens for {', '.join(records)}")
        edges = {key: feature_edges(record) for key, record in records.items()}
        with ActivationSpill(folder, edges, sample.tokens.shape[1]) as spill:
            subject = models.subject(source, revision, dtype)
            try:
                loaded = checked_dictionaries(subject, sample, records, models, harvest_settings)
                for key, item in loaded.items():
                    context.log.info(f"{key}: self-check L0 {item.l0:.1f}, FVU {'none' if item.fvu is None else f'{item.fvu:.3f}'}")
                    numbers = {"self_check_l0": item.l0, **({} if item.fvu is None else {"self_check_fvu": item.fvu})}
                    context.add_asset_metadata(numbers, partition_key=key)
                progress = progress_of(context, "tokens harvested")
                spill_activations(subject, sample, loaded, spill, harvest_settings, context.log.info, progress)
            finally:
                subject.close()
            for key, record in records.items():
                stages = settings.stage_settings(record.stages)
                tokenizer = models.tokenizer(record.model.source, record.model.revision)
                cap = stages.harvest.max_activations
                ShardWriter(lake, record, sample, tokenizer, versions[key], cap, stages.seed).write(spill)
            spill.remove()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(next(iter(versions.values())) if len(versions) == 1 else fingerprint(sorted(versions.values()))),
        check_results=_report(context, lake, registry, settings),
    )


def _write_none(lake: Lake, key: str, version: str, sample_version: str) -> None:
    """Complete ranges without rows, of a dictionary whose examples are imported: what comes after them depends on the imported files
    through their data version."""
    for feature_range in FEATURE_RANGE_KEYS:
        partition = {"dictionary": key, "feature_range": feature_range}
        for table in (ACTIVATIONS, FEATURE_STATISTICS):
            lake.write(table.name, partition, table.schema, table.schema.empty_table(), version, {DICTIONARY_SAMPLES.name: sample_version})


def _report(
    context: dg.AssetExecutionContext, lake: Lake, registry: DictionaryRegistry, settings: PlatformSettings
) -> list[dg.AssetCheckResult]:
    """Metadata of every dictionary of the run, and the checks over all of them."""
    disagreeing: list[str] = []
    mostly_dead: list[str] = []
    for key in context.partition_keys:
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
            disagreeing.append(f"{key}: statistics count {counted} and {capped} features of at most {cap}, shards hold {rows}")
        if dead > len(densities) / 2:
            mostly_dead.append(f"{key}: {dead} of {len(densities)} features never fire")
        plot = distribution_plot({key: densities}, "share of tokens on which a feature fires", "Activation density", log_x=True)
        table = markdown_table(["feature", "firings", "density", "max", "top tokens"], lines)
        context.add_asset_metadata(
            {
                "dagster/partition_row_count": rows, "activations": rows, "bytes": size, "bytes_per_activation": size / max(rows, 1),
                "features": len(densities), "dead_features": dead, "capped_features": capped,
                "activation_density": markdown(plot), "preview": markdown(table),
                "path": dg.MetadataValue.path(lake.location(ACTIVATIONS.name, {"dictionary": key})),
            },
            partition_key=key,
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
