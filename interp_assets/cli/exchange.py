"""`interp import` and `interp export`: files of other tools become dictionaries, and dictionaries become files of other tools."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interp_assets.cli.errors import fail
from interp_assets.cli.help import CommandGroup

if TYPE_CHECKING:
    from interp_assets.config.feature_lists import AskedFeatures
    from interp_assets.config.records import DictionaryRecord

importing = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, rich_markup_mode=None, help="Register a dictionary from files of another tool."
)
exporting = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, rich_markup_mode=None, help="Write a dictionary in the format of another tool."
)


class ImportedMethod(StrEnum):
    """Who wrote imported explanations."""

    human = "human"
    imported = "imported"


class ExplanationFormat(StrEnum):
    """How `interp import explanations` reads a file or folder."""

    auto = "auto"
    csv = "csv"
    jsonl = "jsonl"
    neuronpedia = "neuronpedia"
    delphi = "delphi"
    json = "json"


Features = Annotated[
    str | None, typer.Option(help="features to write, such as 0-99,205; of an interval those that are made; all by default")
]
Key = Annotated[str, typer.Option(help="key of the dictionary to register: <model>/<layer>/<name>")]
Model = Annotated[str, typer.Option(help="the model of these tokens: hub id, local folder, or embedded:smollm2-135m-instruct")]
Revision = Annotated[str | None, typer.Option(help="commit of the model's hub repository")]
Width = Annotated[int | None, typer.Option(help="features of the dictionary; by default one more than the largest index in the files")]


@importing.command("delphi", epilog="Example: interp import delphi results/run --hookpoint layers.9 --key smollm2/09/run --model HUB/MODEL")
def import_delphi(
    folder: Annotated[Path, typer.Argument(help="a delphi run, its latents folder, or the folder of one hook point")],
    key: Key,
    model: Model,
    hookpoint: Annotated[str | None, typer.Option(help="hook point; may be left out where the run has one")] = None,
    revision: Revision = None,
    width: Width = None,
    features: Annotated[str | None, typer.Option(help="features to take, such as 0-99,205; all by default")] = None,
    corpus: Annotated[list[str] | None, typer.Option(help="for a cache without tokens: the corpus of its sample")] = None,
    n_tokens: Annotated[int | None, typer.Option(help="for a cache without tokens: tokens of its sample")] = None,
    context_tokens: Annotated[int | None, typer.Option(help="for a cache without tokens: tokens a row")] = None,
    seed: Annotated[int | None, typer.Option(help="for a cache without tokens: seed of its sample, 0 by default")] = None,
    unverified_tokens: Annotated[
        bool, typer.Option("--unverified-tokens", help="confirm that a cache without tokens has the rows of this sample")
    ] = False,
    accept_tokens: Annotated[bool, typer.Option("--accept-tokens", help="take tokens that do not read as text of the model")] = False,
) -> None:
    """Register a delphi cache. Its tokens become the token sample, its activations the shards, and later stages go on from there."""
    from interp_assets.config.records import ModelSource
    from interp_assets.exchange.import_dictionary import delphi_record, sample_settings
    from interp_assets.installation.home import Home
    from interp_assets.installation.registration import add_record
    from resources.model_provider import RealModels

    record = delphi_record(
        RealModels(),
        folder,
        hookpoint,
        _key(key),
        ModelSource(source=model, revision=revision),
        width=width,
        features=_asked(features),
        token_sample=sample_settings(tuple(corpus or ()), n_tokens, context_tokens, seed),
        unverified_tokens=unverified_tokens,
        accept_tokens=accept_tokens,
        say=typer.echo,
    )
    add_record(Home.from_environment(), record)
    _registered(record)


@importing.command("neuronpedia", epilog="Example: interp import neuronpedia v1/gpt2-small/6-res-jb --key gpt2/06/res-jb --model HUB/MODEL")
def import_neuronpedia(
    folder: Annotated[Path, typer.Argument(help="the folder of one source, with activations/batch-N.jsonl.gz in it")],
    key: Key,
    model: Model,
    hook: Annotated[str | None, typer.Option(help="hook of the features; by default the hook that the export names")] = None,
    revision: Revision = None,
    width: Width = None,
    max_bad_share: Annotated[float, typer.Option(min=0, max=1, help="largest share of rows that may be bad, and are left out")] = 0.01,
    min_activating: Annotated[int, typer.Option(min=2, help="fewest windows of a feature to explain; exports have tens a feature")] = 10,
) -> None:
    """Register a Neuronpedia export. Its windows become examples, shown and held out, and later stages go on from there."""
    from interp_assets.config.records import ModelSource
    from interp_assets.exchange.import_dictionary import neuronpedia_record
    from interp_assets.installation.home import Home
    from interp_assets.installation.registration import add_record
    from resources.model_provider import RealModels

    record = neuronpedia_record(
        RealModels(),
        folder,
        _key(key),
        ModelSource(source=model, revision=revision),
        hook=hook,
        width=width,
        max_bad_share=max_bad_share,
        min_activating=min_activating,
        say=typer.echo,
    )
    add_record(Home.from_environment(), record)
    _registered(record)


@importing.command(
    "explanations", epilog="Example: interp import explanations labels.csv --dictionary smollm2-135m/09/res-2k --method human"
)
def import_explanations(
    path: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", help="CSV, JSON or JSON lines; a Neuronpedia source; a delphi run")],
    dictionary: Annotated[str, typer.Option(help="key of the registered dictionary with these features")],
    method: Annotated[ImportedMethod, typer.Option(help="human where a person wrote the explanations")] = ImportedMethod.imported,
    format_: Annotated[ExplanationFormat, typer.Option("--format", help="by default by name and content")] = ExplanationFormat.auto,
    author: Annotated[str | None, typer.Option(help="only rows of this author; for Neuronpedia: type and model")] = None,
    hookpoint: Annotated[str | None, typer.Option(help="hook point of a delphi run; may be left out where it has one")] = None,
    max_bad_share: Annotated[float, typer.Option(min=0, max=1, help="largest share of rows that may be bad, and are left out")] = 0.01,
    append: Annotated[bool, typer.Option("--append", help="keep earlier explanations of other features")] = False,
) -> None:
    """Read explanations from files. They replace explanations that were imported before under the same method."""
    from interp_assets.exchange.import_explanations import import_explanations as import_
    from interp_assets.installation.home import Home

    home = Home.from_environment()
    record = home.registry.get(_key(dictionary, "--dictionary"))
    options = {"format_": format_.value, "author": author, "hookpoint": hookpoint, "max_bad_share": max_bad_share, "append": append}
    manifest = import_(home.lake, record, path, method.value, **options, say=typer.echo)
    asked_for = home.settings.stage_settings(record.stages).explanations
    typer.echo(f"{dictionary} has {manifest.rows:,} explanations of the method {method.value} (data version {manifest.data_version})")
    if method.value not in asked_for:
        names = ", ".join([*asked_for, method.value])
        typer.echo(f"next: ask for them in {home.registry.path_of(dictionary)}: `stages: {{explanations: [{names}]}}`, then")
    typer.echo(f"next: interp backfill {dictionary}")


@importing.command(
    "output-centric", epilog="Example: interp import output-centric results.csv --dictionary gemma-2-2b/20/gemmascope-16k --layer 20"
)
def import_output_centric(
    file: Annotated[Path, typer.Argument(help="CSV with Layer, Feature, and Description, Input Success, Output Success of each method")],
    dictionary: Annotated[str, typer.Option(help="key of the registered dictionary with these features")],
    layer: Annotated[
        str | None, typer.Option(help="the dictionary's layer as the file writes it; may be left out where the file has one layer")
    ] = None,
    max_bad_share: Annotated[float, typer.Option(min=0, max=1, help="largest share of rows that may be bad, and are left out")] = 0.0,
) -> None:
    """Read from results of arXiv 2501.08319 which descriptions succeeded. The view success_by_method shows our successes beside them."""
    from interp_assets.exchange.import_successes import import_successes
    from interp_assets.installation.home import Home

    home = Home.from_environment()
    record = home.registry.get(_key(dictionary, "--dictionary"))
    manifest = import_successes(home.lake, record, file, layer=layer, max_bad_share=max_bad_share, say=typer.echo)
    typer.echo(f"{dictionary} has {manifest.rows:,} descriptions and their successes (data version {manifest.data_version})")
    typer.echo(f"next: interp query \"SELECT * FROM success_by_method WHERE dictionary = '{dictionary}'\"")


@exporting.command("delphi", epilog="Example: interp export delphi smollm2-135m/09/res-2k results/ours --hookpoint layers.9")
def export_delphi(
    key: Annotated[str, typer.Argument(help="key of a dictionary whose activations have been made")],
    folder: Annotated[Path, typer.Argument(help="folder to write; the cache is <folder>/latents/<hookpoint>")],
    hookpoint: Annotated[str | None, typer.Option(help="name of the hook point in the cache; the record's hook by default")] = None,
    features: Features = None,
    n_splits: Annotated[int | None, typer.Option(min=1, help="files; 5, or as many as keep each below 20 million activations")] = None,
) -> None:
    """Write a dictionary's activations and tokens as a cache that delphi reads."""
    from interp_assets.exchange.export_delphi_cache import export_delphi as export
    from interp_assets.installation.home import Home

    home = Home.from_environment()
    chosen = _asked(features)
    record, settings = home.registry.get(key), home.settings
    written = export(home.lake, record, settings, folder, hookpoint=hookpoint, features=chosen, n_splits=n_splits, say=typer.echo)
    left_out = f"; {written.n_small:,} not above 1e-5 were left out" if written.n_small else ""
    typer.echo(f"wrote {written.activations:,} activations in {len(written.files)} files to {written.folder}{left_out}")


@exporting.command("delphi-results", epilog="Example: interp export delphi-results smollm2-135m/09/res-2k results/ours")
def export_delphi_results(
    key: Annotated[str, typer.Argument(help="key of a dictionary whose features have been explained")],
    folder: Annotated[Path, typer.Argument(help="folder to write: <folder>/explanations and <folder>/scores")],
    explanations: Annotated[str, typer.Option(help="method of the explanations")] = "max_act",
    hookpoint: Annotated[str | None, typer.Option(help="name of the hook point in file names; the record's hook by default")] = None,
) -> None:
    """Write explanations, and the verdicts of detection and fuzzing on each window, as files that delphi reads."""
    from interp_assets.exchange.export_delphi_results import export_delphi_results as export
    from interp_assets.installation.home import Home

    home = Home.from_environment()
    record = home.registry.get(_key(key, "KEY"))
    written = export(home.lake, record, folder, method=explanations, hookpoint=hookpoint, say=typer.echo)
    scored = "".join(f", {n:,} features scored by {scorer}" for scorer, n in written.scores.items())
    typer.echo(f"wrote {written.explanations:,} explanations{scored} to {folder}; {written.n_kept:,} of the files were there already")
    if written.unexplained:
        without = ", ".join(f"{outcome} {n:,}" for outcome, n in sorted(written.unexplained.items()))
        typer.echo(f"without an explanation, and without a file: {without}")


@exporting.command("neuronpedia", epilog="Example: interp export neuronpedia smollm2-135m/09/res-2k published")
def export_neuronpedia(
    key: Annotated[str, typer.Argument(help="key of a dictionary whose examples have been made")],
    folder: Annotated[Path, typer.Argument(help="folder to write; the source is <folder>/<model>/<layer>-<source set>")],
    features: Features = None,
    explanations: Annotated[list[str] | None, typer.Option(help="method of explanations to write; by default all but baselines")] = None,
    model_id: Annotated[str | None, typer.Option(help="the model's id on Neuronpedia; by default as in the key")] = None,
    source_set: Annotated[str | None, typer.Option(help="the source set's id; by default the name in the key")] = None,
    release: Annotated[str | None, typer.Option(help="id of the release; by default interp-assets-<model>")] = None,
    creator_id: Annotated[
        str | None, typer.Option(help="id of the user that rows belong to; by default the user of every Neuronpedia instance")
    ] = None,
    weights: Annotated[bool, typer.Option(help="load model and dictionary for the histograms of logits")] = True,
    vectors: Annotated[bool, typer.Option("--vectors", help="write each feature's decoder row, for steering; takes space")] = False,
) -> None:
    """Write features, windows, explanations and scores in the layout that Neuronpedia's importer reads."""
    from interp_assets.exchange.export_neuronpedia import PublicName
    from interp_assets.exchange.export_neuronpedia import export_neuronpedia as export
    from interp_assets.exchange.progress import size_text
    from interp_assets.installation.home import Home
    from resources.formats.neuronpedia_writing import CREATOR
    from resources.model_provider import RealModels

    home = Home.from_environment()
    chosen, methods = _asked(features), tuple(explanations) if explanations else None
    name = PublicName(model_id, source_set, release, creator_id or CREATOR)
    options = {"features": chosen, "methods": methods, "name": name, "weights": weights, "vectors": vectors}
    record = home.registry.get(_key(key, "KEY"))
    made = export(home.lake, record, RealModels(), folder, **options, say=typer.echo)  # type: ignore[arg-type]
    rows = ", ".join(f"{n:,} {kind.replace('_', ' ')}" for kind, n in made.written.items())
    typer.echo(f"wrote {rows} to {made.folder} ({size_text(made.bytes)})")


@exporting.command("circuit-tracer", epilog="Example: interp export circuit-tracer smollm2-135m/09/transcoder features --graph haiku.json")
def export_circuit_tracer(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="keys of dictionaries whose examples have been made, one a layer")],
    folder: Annotated[Path, typer.Argument(help="folder to write: <folder>/features and <folder>/labels.json")],
    features: Features = None,
    explanations: Annotated[
        list[str] | None, typer.Option(help="methods whose explanations are labels, the first that has one; by default all but baselines")
    ] = None,
    graph: Annotated[list[Path] | None, typer.Option(help="graph of circuit-tracer to write with labels at its feature nodes")] = None,
    json_files: Annotated[bool, typer.Option("--json-files", help="write every feature to a JSON file of its own too")] = False,
) -> None:
    """Write feature files and labels for the attribution graphs of circuit-tracer."""
    from interp_assets.exchange.export_circuit_tracer import export_circuit_tracer as export
    from interp_assets.exchange.progress import size_text
    from interp_assets.installation.home import Home

    home = Home.from_environment()
    chosen, methods = _asked(features), tuple(explanations) if explanations else None
    records = [home.registry.get(_key(key, "KEY")) for key in keys]
    made = export(home.lake, records, folder, features=chosen, methods=methods, graphs=graph or (), loose=json_files, say=typer.echo)
    typer.echo(f"wrote {made.features:,} features and {made.labels:,} labels to {made.folder} ({size_text(made.bytes)})")
    for name, nodes in made.nodes.items():
        typer.echo(f"labelled {nodes:,} nodes in {made.folder / 'graph_data' / name}")
    typer.echo(
        f"next: serve(data_dir='{made.folder}/graph_data', features_dir='{made.folder.resolve()}/features') of circuit_tracer.frontend; "
        "release 0.5.0 has no features_dir, see docs/data-in-and-out.md"
    )


@exporting.command("dataset", epilog="Example: interp export dataset smollm2-135m/09/res-2k published --license cc-by-4.0")
def export_dataset(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="keys of dictionaries whose examples have been made")],
    folder: Annotated[Path, typer.Argument(help="folder to write: a card and Parquet, one or two configs a dictionary")],
    features: Features = None,
    license_: Annotated[str, typer.Option("--license", help="licence on the card, an id of the hub's list")] = "unknown",
) -> None:
    """Write features, windows, explanations and scores as a Hugging Face dataset with a card."""
    from interp_assets.exchange.export_dataset import export_dataset as export
    from interp_assets.exchange.progress import size_text
    from interp_assets.installation.home import Home

    home = Home.from_environment()
    chosen = _asked(features)
    records = [home.registry.get(_key(key, "KEY")) for key in keys]
    made = export(home.lake, records, folder, features=chosen, license_=license_, say=typer.echo)
    for config, n in made.features.items():
        typer.echo(f"config {config}: {n:,} features, {made.scores[config]:,} scores")
    typer.echo(f"wrote {made.folder} ({size_text(made.bytes)})")
    if license_ == "unknown":
        typer.echo(f"next: the card says that the licence is unknown; write it into {made.folder / 'README.md'}")


@exporting.command("csv", epilog="Example: interp export csv scores_by_method scores.csv")
def export_csv(
    view: Annotated[str, typer.Argument(help="a view or table; `interp query views` lists them")],
    file: Annotated[Path | None, typer.Argument(help="file to write, which must not be there yet; printed by default")] = None,
    out: Annotated[Path | None, typer.Option(help="the same file, as an option")] = None,
    excel: Annotated[
        bool, typer.Option("--excel", help="for a double click in Excel: all letters come out, and no text becomes a date or a number")
    ] = False,
) -> None:
    """Write a view as CSV, whole or not at all; texts that a spreadsheet would run as formulas get an apostrophe in front."""
    from interp_assets.exchange.export_csv import export_csv as export
    from interp_assets.exchange.progress import size_text
    from interp_assets.installation.home import Home

    if file is not None and out is not None:
        fail(f"the file is named twice, {file} and --out {out}: name it once")
    out = out or file
    made = export(Home.from_environment().warehouse.query, Home.from_environment().warehouse.views, view, out, excel)
    for note in made.notes:
        typer.echo(f"note: {note}", err=True)
    if out is None:
        typer.echo(made.text, nl=False)
    else:
        typer.echo(f"wrote {made.rows:,} rows to {out} ({size_text(len(made.text.encode()))})")


def _asked(features: str | None) -> "AskedFeatures | None":
    from interp_assets.config.feature_lists import parse_features

    return parse_features(features)


def _key(key: str, option: str = "--key") -> str:
    from interp_assets.config.base import UserError
    from interp_assets.config.keys import check_dictionary_key

    try:
        return check_dictionary_key(key)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None


def _registered(record: "DictionaryRecord") -> None:
    from interp_assets.cli.next_steps import next_step

    typer.echo(f"registered {record.key} ({len(record.selected_features):,} of {record.width:,} features)")
    typer.echo(next_step([record]))
