"""`interp import` and `interp export`: files of other tools become dictionaries, and dictionaries become files of other tools."""

from pathlib import Path
from typing import Annotated

import typer

from interp_assets.settings import UserError

importing = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Register a dictionary from files of another tool.")
exporting = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write a dictionary in the format of another tool.")

Key = Annotated[str, typer.Option(help="key of the dictionary to register: <model>/<layer>/<name>")]
Model = Annotated[str, typer.Option(help="the model whose tokens these are: hub id, local folder, or embedded:smollm2-135m-instruct")]
Revision = Annotated[str | None, typer.Option(help="commit of the model's hub repository")]
Width = Annotated[int | None, typer.Option(help="features of the dictionary; by default one more than the last in the files")]


@importing.command("delphi", epilog="Example: interp import delphi results/run --hookpoint layers.9 --key smollm2/09/run --model HUB/MODEL")
def import_delphi(
    folder: Annotated[Path, typer.Argument(help="a delphi run, its latents folder, or the folder of one hook point")],
    key: Key,
    model: Model,
    hookpoint: Annotated[str | None, typer.Option(help="hook point; may be left out where there is one")] = None,
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
    """Register a delphi cache: its tokens become the token sample, its activations the shards, and the graph goes on from there."""
    from interp_assets.cli import clear_errors
    from interp_assets.dictionaries import ModelSource
    from interp_assets.home import Home
    from interp_assets.import_records import delphi_record, parse_features, sample_settings
    from interp_assets.registration import add_record
    from resources.model_provider import RealModels

    with clear_errors():
        record = delphi_record(
            RealModels(),
            folder,
            hookpoint,
            _key(key),
            ModelSource(source=model, revision=revision),
            width=width,
            features=parse_features(features),
            token_sample=sample_settings(tuple(corpus or ()), n_tokens, context_tokens, seed),
            unverified_tokens=unverified_tokens,
            accept_tokens=accept_tokens,
            say=typer.echo,
        )
        add_record(Home.from_environment(), record)
    _registered(record.key, len(record.selected_features), record.width)


@importing.command("neuronpedia", epilog="Example: interp import neuronpedia v1/gpt2-small/6-res-jb --key gpt2/06/res-jb --model HUB/MODEL")
def import_neuronpedia(
    folder: Annotated[Path, typer.Argument(help="the folder of one source, with activations/batch-N.jsonl.gz in it")],
    key: Key,
    model: Model,
    hook: Annotated[str | None, typer.Option(help="hook of the features; by default what the export says")] = None,
    revision: Revision = None,
    width: Width = None,
    max_bad_share: Annotated[float, typer.Option(min=0, max=1, help="largest share of rows that may be bad, and are left out")] = 0.01,
    min_activating: Annotated[int, typer.Option(min=2, help="fewest windows of a feature to explain; exports have tens of them")] = 10,
) -> None:
    """Register a Neuronpedia export: its windows become examples, shown and held out, and the graph goes on from there."""
    from interp_assets.cli import clear_errors
    from interp_assets.dictionaries import ModelSource
    from interp_assets.home import Home
    from interp_assets.import_records import neuronpedia_record
    from interp_assets.registration import add_record
    from resources.model_provider import RealModels

    with clear_errors():
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
    _registered(record.key, len(record.selected_features), record.width)


@exporting.command("delphi", epilog="Example: interp export delphi smollm2-135m/09/res-2k results/ours --hookpoint layers.9")
def export_delphi(
    key: Annotated[str, typer.Argument(help="key of a dictionary whose activations have been made")],
    folder: Annotated[Path, typer.Argument(help="folder to write; the cache is <folder>/latents/<hookpoint>")],
    hookpoint: Annotated[str | None, typer.Option(help="name of the hook point in the cache; the record's hook by default")] = None,
    features: Annotated[str | None, typer.Option(help="features to write, such as 0-99,205; all by default")] = None,
    n_splits: Annotated[int | None, typer.Option(min=1, help="files; 5, or as many as keep each below 20 million activations")] = None,
) -> None:
    """Write a dictionary's activations and tokens as a cache that delphi reads."""
    from interp_assets.cli import clear_errors
    from interp_assets.exports import export_delphi as export
    from interp_assets.home import Home
    from interp_assets.import_records import parse_features

    home = Home.from_environment()
    with clear_errors():
        chosen = parse_features(features)
        record, settings = home.registry.get(key), home.settings
        written = export(home.lake, record, settings, folder, hookpoint=hookpoint, features=chosen, n_splits=n_splits, say=typer.echo)
    left_out = f"; {written.n_small:,} not above 1e-5 were left out" if written.n_small else ""
    typer.echo(f"wrote {written.activations:,} activations in {len(written.files)} files to {written.folder}{left_out}")


def _key(key: str) -> str:
    from interp_assets.partitions import check_dictionary_key

    try:
        return check_dictionary_key(key)
    except ValueError as error:
        raise UserError(f"--key: {error}") from None


def _registered(key: str, selected: int, width: int) -> None:
    typer.echo(f"registered {key} ({selected:,} of {width:,} features)")
    typer.echo(f"next: interp backfill {key}")
