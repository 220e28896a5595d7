"""`interp embed`: sentence embeddings of the explanations of a dictionary, for the explorer's search by meaning. Writes the table
explanation_embeddings."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from interp_assets.config.base import fingerprint
from interp_assets.config.keys import FEATURE_RANGE_KEYS, RangeKey
from interp_assets.config.records import DictionaryRecord
from interp_assets.domain.explaining import BASELINES
from interp_assets.domain.ratings.ratings import Explained
from interp_assets.installation.home import Home
from interp_assets.reading.explanations import explanations_of_range
from interp_assets.tables import EXPLANATION_EMBEDDINGS
from interp_assets.tables.columns import constant
from resources.model_provider import ModelProvider
from resources.sentence_encoder import SentenceEncoder
from resources.store.lake import Lake

BATCH_TEXTS = 4096
WRITER_OPTIONS = {"use_dictionary": ["dictionary", "explanation_method", "encoder"], "compression_level": 1}


def embed_explanations(home: Home, models: ModelProvider, key: str, say: Callable[[str], None]) -> int:
    """Embed the explanations of a dictionary by all methods but the baselines, and return the number of vectors.

    Equal texts are embedded once. Nothing is done where the table holds the vectors of just these texts by this encoder already. Raises
    `UserError` for an unknown dictionary.
    """
    record = home.registry.get(key)
    settings = home.settings.sentence_encoder
    encoder = models.sentence_encoder(settings.source, settings.revision)
    try:
        explained = list(explained_features(home.lake, record))
        version = fingerprint(EXPLANATION_EMBEDDINGS.name, encoder.revision, [(feature, one.explanation_id) for feature, one in explained])
        partition = {"dictionary": key}
        if home.lake.is_current(EXPLANATION_EMBEDDINGS.name, partition, version):
            say(f"{key}: its {len(explained):,} explanations are embedded already")
            return len(explained)
        tables = _tables(key, explained, encoder, say)
        home.lake.write(EXPLANATION_EMBEDDINGS.name, partition, EXPLANATION_EMBEDDINGS.schema, tables, version, {}, WRITER_OPTIONS)
        say(f"{key}: {len(explained):,} explanations are embedded")
        return len(explained)
    finally:
        encoder.close()


def explained_features(lake: Lake, record: DictionaryRecord) -> Iterator[tuple[int, Explained]]:
    """(feature, explanation) of a dictionary in the order of features, without explanations that baselines alone wrote."""
    for name in FEATURE_RANGE_KEYS:
        for feature, texts in sorted(explanations_of_range(lake, RangeKey(record.key, name), record.first_key).items()):
            yield from ((feature, one) for one in texts if not set(one.methods) <= set(BASELINES))


def _tables(key: str, explained: list[tuple[int, Explained]], encoder: SentenceEncoder, say: Callable[[str], None]) -> Iterator[pa.Table]:
    """Rows of the table, a batch of texts at a time; texts that were embedded in the batch before are not embedded again."""
    known: dict[str, np.ndarray] = {}
    for first in range(0, len(explained), BATCH_TEXTS):
        part = explained[first : first + BATCH_TEXTS]
        new = list(dict.fromkeys(one.text for _, one in part if one.text not in known))
        fresh = dict(zip(new, encoder.embed(new).astype(np.float16), strict=True)) if new else {}
        known = {one.text: fresh[one.text] if one.text in fresh else known[one.text] for _, one in part}
        vectors = np.stack([known[one.text] for _, one in part])
        offsets = pa.array(np.arange(len(part) + 1, dtype=np.int32) * vectors.shape[1])
        yield pa.table(
            {
                "dictionary": constant(key, len(part)),
                "feature": pa.array([feature for feature, _ in part], pa.uint32()),
                "explanation_method": pa.array([_teller(one) for _, one in part]).dictionary_encode(),
                "explanation_id": pa.array([one.explanation_id for _, one in part]),
                "encoder": constant(encoder.revision, len(part)),
                "vector": pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1))),
            }
        ).cast(EXPLANATION_EMBEDDINGS.schema)
        if first:
            say(f"{key}: {first + len(part):,} of {len(explained):,} explanations embedded")


def _teller(one: Explained) -> str:
    """The first method that wrote the text and is no baseline."""
    return next(method for method in one.methods if method not in BASELINES)
