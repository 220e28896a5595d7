"""Where words go on in a token sample, and windows cut out of real text: no word is cut, none runs over a document's end."""

import numpy as np
from tokenizer_kinds import loaded

from interp_assets.domain.examples.negative_draws import build_examples
from interp_assets.domain.examples.passages import Passages
from interp_assets.domain.examples.sampling import ExampleSettings
from interp_assets.domain.features.packing import pack_documents
from interp_assets.reading.token_sample import TokenSample
from resources.subject.tokenizer import Tokenizer

DOCUMENTS = (
    "LUCENTIO: I saw Bianca; she was reading, and it's Grumio's naïveté that keeps extraordinarily unquestionable people waiting. " * 3,
    "猫坐在垫子上。Das Schifffahrtsgesellschaftsgebäude von Größe 12345 steht leer. " * 4,
)


def sample_of(tokenizer: Tokenizer, context_tokens: int, n_rows: int) -> TokenSample:
    documents = [(str(i), tokenizer.encode(text)) for i, text in enumerate(DOCUMENTS * 20)]
    packed = pack_documents(documents, context_tokens, tokenizer.bos_token_id, tokenizer.eos_token_id, context_tokens * n_rows)
    ends = [ids[-1] if ids else None for ids in packed.document_ids]
    continued = np.array([False] + [ids[:1] == (end,) for ids, end in zip(packed.document_ids[1:], ends, strict=False)])
    return TokenSample("s", packed.token_ids, Passages.of(packed.is_text, packed.document_starts), continued)


def test_a_word_goes_on_where_its_next_token_begins() -> None:
    """Over the end of a row too; not over the end of a document, and not between characters of a script without spaces."""
    tokenizer = Tokenizer(loaded("byte_level"), "1")
    sample = sample_of(tokenizer, 16, 20)
    text = sample.text(tokenizer)
    assert text is not None and text.goes_on is not None
    body = sample.tokens.reshape(-1)
    whole = tokenizer.text(body[: text.passages.length[0]])
    starts = np.cumsum([0, *map(len, tokenizer.tokens(body[: text.passages.length[0]]))])[:-1]
    inside = [bool(i and whole[i - 1 : i + 1].isascii() and whole[i - 1].isalnum() and whole[i].isalnum()) for i in starts.tolist()]
    assert all(goes_on for goes_on, cut in zip(text.goes_on[: len(starts)], inside, strict=True) if cut)
    assert not text.goes_on[body == tokenizer.eos_token_id].any()
    joins = np.arange(16, len(body), 16)  # the first token of each further row: of one document, as the row before
    assert text.goes_on[joins].any()
    cat = tokenizer.encode("猫坐在垫子上")
    chinese = TokenSample("s", cat[None, :], Passages.of(np.ones((1, len(cat)), dtype=bool), [()])).text(tokenizer)
    assert chinese is not None and chinese.goes_on is not None
    assert chinese.goes_on.tolist() == ["\ufffd" in tokenizer.text(cat[:place]) for place in range(len(cat))]


def test_examples_cut_no_word_that_is_short_enough_and_hold_no_control_token() -> None:
    tokenizer = Tokenizer(loaded("byte_level"), "1")
    sample = sample_of(tokenizer, 64, 60)
    positions = np.flatnonzero(sample.is_text().reshape(-1))[::150]
    settings = ExampleSettings(window_tokens=24, n_shown=4, n_held_out=8, n_non_activating=12, min_activating=4, n_strata=2)
    found = build_examples(positions, np.linspace(1, 2, len(positions)), sample.tokens, 0, settings, 0, 1, text=sample.text(tokenizer))
    assert found.outcome == "ok"
    joined = "".join(DOCUMENTS)
    for example in found.examples:
        text = tokenizer.text(example.token_ids)
        assert not set(example.token_ids) & tokenizer.special_token_ids
        assert text in joined  # one document's own text, no part of a character
        place = joined.index(text)
        for inside, both in (
            (example.begins_in_word, joined[place - 1 : place + 1]),
            (example.ends_in_word, joined[place + len(text) - 1 :][:2]),
        ):
            assert both.isalpha() if inside else not (both.isascii() and both.isalpha()), (both, text)
    assert not all(example.begins_in_word or example.ends_in_word for example in found.examples)
