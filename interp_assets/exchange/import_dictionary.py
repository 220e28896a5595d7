"""Records of dictionaries in files of other tools: the files are read through, and their content is reported before it is registered."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from interp_assets.config.base import UserError, validated
from interp_assets.config.feature_lists import AskedFeatures
from interp_assets.config.records import DictionaryRecord, ModelSource, TokenSampleSettings
from interp_assets.exchange.imported_files import open_delphi, require_unchanged
from resources.formats import delphi, neuronpedia
from resources.formats.interface import content_hash
from resources.model_provider import ModelProvider

RETOKENISED_ROWS = 32
LEAST_RETOKENISED_SHARE = 0.95
"""Least share of tokens that must come back when the text of a cache is tokenised again.

Prose, code and Chinese in the model's own tokens reach 0.97 to 1; ids of another vocabulary reach 0.85 to 0.94, since most tokens are whole
words, which survive in any order. The check is coarse, so the beginning of the text is shown as well.
"""

LONGEST_CONTEXT, LARGEST_SAMPLE = 1 << 16, 1 << 32
SELECTED = "selected_latents"
"""Key in a cache's config.json that names the exported features, where an export has only some features."""


def delphi_record(
    models: ModelProvider,
    folder: Path,
    hookpoint: str | None,
    key: str,
    model: ModelSource,
    *,
    width: int | None = None,
    features: AskedFeatures | None = None,
    token_sample: TokenSampleSettings | None = None,
    unverified_tokens: bool = False,
    accept_tokens: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> DictionaryRecord:
    """The record of a delphi cache, once the cache is read through and found sound; `say` gets the findings.

    A cache without tokens needs `token_sample`, and `unverified_tokens` to confirm that the rows of the sample are the rows of the cache.
    `accept_tokens` takes tokens that do not read as text of the model. Raises `UserError` and `ExchangeError` naming what does not fit.
    """
    cache = delphi.open_cache(delphi.find_hookpoint(folder, hookpoint))
    tokenizer = tokenizer_of(models, model)
    width = _width(width, cache.width, cache.folder)
    if cache.tokens_shape:
        if token_sample or unverified_tokens:
            raise UserError(f"{cache.folder} has its tokens: leave out --corpus, --n-tokens, --context-tokens and --unverified-tokens.")
        token_sample = _own_tokens(cache, tokenizer, model, accept_tokens, say)
    else:
        token_sample = _tokens_elsewhere(cache, token_sample, unverified_tokens, say)
    say(f"reading {cache.folder}")
    content = content_hash(cache.folder, cache.files)
    record = DictionaryRecord.model_validate(
        {
            "key": key, "model": model, "hook": hookpoint or cache.folder.name, "kind": "delphi", "source": str(cache.folder.resolve()),
            "width": width, "token_sample": token_sample, "features": _taken(cache, width, features),
            "imported": {"content": content, "unverified_tokens": unverified_tokens},
        }
    )  # fmt: skip
    delphi.require_features(cache, record.selected_features)
    context = token_sample.context_tokens
    found = delphi.check_cache(cache, (token_sample.n_tokens // context, context))
    say(
        f"{found.rows:,} rows of {context} tokens, {found.activations:,} activations of {found.features_alive:,} features; left out: "
        f"{found.n_small:,} not above 1e-5, {found.n_negative:,} negative"
    )
    stated = cache.config.get("model_name")
    if stated and stated != model.source:
        say(f"note: the cache says that its model is {stated}; the record says {model.source}")
    return record


def neuronpedia_record(
    models: ModelProvider,
    folder: Path,
    key: str,
    model: ModelSource,
    *,
    hook: str | None = None,
    width: int | None = None,
    max_bad_share: float = 0.01,
    min_activating: int = 10,
    say: Callable[[str], None] = lambda line: None,
) -> DictionaryRecord:
    """The record of one source of a Neuronpedia export, which is read through; `say` gets the findings, with bad rows by file and line."""
    export = neuronpedia.open_export(folder)
    tokenizer = tokenizer_of(models, model)
    say(f"reading {export.folder}")
    content = content_hash(export.folder, export.activation_files)
    found = neuronpedia.check_export(export, width, max_bad_share)
    for bad in found.bad:
        say(f"left out {bad.where}: {bad.problem}")
    texts = sorted(found.texts)
    without_id = sum(token_id < 0 for token_id in tokenizer.ids_of(texts))
    say(
        f"{found.windows:,} windows of {len(found.features):,} features, {found.tokens:,} tokens, {found.n_bad:,} bad rows left out; "
        f"{found.silent:,} windows are silent; {without_id:,} of {len(texts):,} token texts are no single token of {model.source}"
    )
    if not found.silent:
        say("note: without silent windows, scores that need them end as one_class; scoring: {fuzzing: {negatives: active}} needs none")
    return DictionaryRecord.model_validate(
        {
            "key": key, "model": model, "hook": hook or found.hook or export.folder.name, "kind": "neuronpedia",
            "source": str(export.folder.resolve()), "width": found.width, "imported": {"content": content},
            "token_sample": {
                "corpus": (f"neuronpedia:{content}",), "n_tokens": found.tokens,
                "context_tokens": min(max(found.longest, 8), LONGEST_CONTEXT),
            },
            "stages": {"examples": {"min_activating": min_activating}},
        }
    )  # fmt: skip


def check_imported(record: DictionaryRecord) -> str:
    """Check the files of a written record: they must be as they were when they were imported. Returns a line to print.

    Raises `UserError` and `ExchangeError`.
    """
    if record.kind == "delphi":
        cache = open_delphi(record)
        delphi.require_features(cache, record.selected_features)
        return f"{len(cache.splits)} files in {cache.folder} are as imported"
    export = neuronpedia.open_export(Path(str(record.source)))
    require_unchanged(record, export.folder, export.activation_files)
    return f"{len(export.activation_files)} files in {export.folder} are as imported"


def tokenizer_of(models: ModelProvider, model: ModelSource) -> Any:
    """The model's tokenizer. Raises `UserError` where the tokenizer does not load."""
    try:
        return models.tokenizer(model.source, model.revision)
    except (ValueError, OSError) as error:
        raise UserError(f"the tokenizer of --model {model.source} does not load: {error}") from error


def tokens_address(tokens: np.ndarray) -> str:
    """The corpus name for a sample that is in a cache: equal for two hook points of one run, so that both share one sample."""
    return "delphi:" + hashlib.sha256(repr(tokens.shape).encode() + np.ascontiguousarray(tokens, dtype="<i8").tobytes()).hexdigest()[:16]


def retokenised_share(tokenizer: Any, tokens: np.ndarray) -> float:
    """Share of the tokens of int [rows, context] that come back when their text is tokenised again; near 1 for tokens of this tokenizer.

    Special tokens are left out, and so are rows of special tokens alone. 1.0 when nothing is left to count.
    """
    same = total = 0
    for row in tokens[:RETOKENISED_ROWS]:
        ids = [token for token in row.tolist() if token not in tokenizer.special_token_ids]
        again = tokenizer.encode(tokenizer.text(ids)).tolist()
        same += sum((Counter(ids) & Counter(again)).values())
        total += max(len(ids), len(again))
    return same / total if total else 1.0


def _taken(cache: delphi.DelphiCache, width: int, asked: AskedFeatures | None) -> tuple[int, ...] | None:
    """The features to take of a cache: those asked for, or else those that an export of this project lists; None for all."""
    listed = tuple(cache.config.get(SELECTED) or ())
    if asked is None:
        return listed or None
    known = np.sort(np.asarray(listed, dtype=np.int64)) if listed else delphi.features_in_files(cache, width)
    chosen = sorted({*asked.named, *asked.among(known).tolist()})
    if not chosen:
        raise UserError(
            f"--features {asked}: the files of {cache.folder} hold none of these features; they hold {len(known):,} of {width:,}"
        )
    return tuple(chosen)


def _width(width: int | None, found: int, folder: Path) -> int:
    if width is not None and width < found:
        raise UserError(f"--width {width} is too small: {folder} has features up to {found - 1}. Leave it out, or give at least {found}.")
    return width or found


def _own_tokens(
    cache: delphi.DelphiCache, tokenizer: Any, model: ModelSource, accept: bool, say: Callable[[str], None]
) -> TokenSampleSettings:
    """The sample in the cache. Raises `UserError` where its tokens cannot be the model's."""
    tokens = delphi.read_tokens(cache)
    largest, (rows, context) = int(tokens.max()), tokens.shape
    if not 8 <= context <= LONGEST_CONTEXT or tokens.size > LARGEST_SAMPLE:
        raise UserError(f"{cache.folder} has tokens [{rows}, {context}]; allowed are 8 to 65,536 a row and 2^32 in all. Cache fewer rows.")
    if largest >= tokenizer.vocabulary_size or tokens.min() < 0:
        wrong = largest if tokens.min() >= 0 else int(tokens.min())
        raise UserError(
            f"{cache.folder} has token {wrong}, but {model.source} has tokens 0 to {tokenizer.vocabulary_size - 1}. {_other_model(cache)}"
        )
    share = retokenised_share(tokenizer, tokens)
    beginning = tokenizer.text(tokens[0, :24])
    if share < LEAST_RETOKENISED_SHARE and not accept:
        raise UserError(
            f"the tokens of {cache.folder} do not read as text of {model.source}: only {share:.0%} of them come back when their text is "
            f"tokenised again (at least {LEAST_RETOKENISED_SHARE:.0%} is needed). The first row begins {beginning!r}. "
            f"{_other_model(cache)}, or accept them as they are: --accept-tokens"
        )
    say(f"tokens read as text of {model.source} ({share:.1%} come back when tokenised again); the first row begins {beginning!r}")
    return TokenSampleSettings(corpus=(tokens_address(tokens),), n_tokens=tokens.size, context_tokens=context)


def _other_model(cache: delphi.DelphiCache) -> str:
    return f"Name the model that the cache was made with (it says {cache.config.get('model_name', 'nothing')}): --model"


def _tokens_elsewhere(
    cache: delphi.DelphiCache, sample: TokenSampleSettings | None, unverified: bool, say: Callable[[str], None]
) -> TokenSampleSettings:
    """The sample that the user vouches for as the sample of the cache. Raises `UserError` where the user does not."""
    if sample is None or not unverified:
        raise UserError(
            f"{cache.folder} has no tokens, so nothing in it says which text its rows are. Cache again with tokens saved, or name the "
            "sample that has these rows (--corpus, --n-tokens, --context-tokens, --seed) and confirm it with --unverified-tokens: should "
            "the rows differ, every example shows the wrong text and nothing can notice."
        )
    stated = cache.config.get("cache_ctx_len")
    if stated is not None and stated != sample.context_tokens:
        raise UserError(
            f"{cache.folder}/config.json says cache_ctx_len {stated}, but --context-tokens is {sample.context_tokens}: give {stated}."
        )
    say("note: the cache has no tokens; nothing can check that the sample has the same rows, and the record says so")
    return sample


def sample_settings(
    corpus: tuple[str, ...], n_tokens: int | None, context_tokens: int | None, seed: int | None
) -> TokenSampleSettings | None:
    """A token sample from options; None when no option was given. Raises `UserError` where only some options were given (the seed may be
    left out), or where an option is out of range."""
    if not corpus and n_tokens is None and context_tokens is None and seed is None:
        return None
    if not corpus or n_tokens is None or context_tokens is None:
        raise UserError(
            "a sample needs --corpus, --n-tokens and --context-tokens together; the last two are n_tokens and cache_ctx_len in the cache's "
            "config.json"
        )
    fields = {"corpus": corpus, "n_tokens": n_tokens, "context_tokens": context_tokens, "seed": seed or 0}
    return validated(TokenSampleSettings, fields, "the token sample")
