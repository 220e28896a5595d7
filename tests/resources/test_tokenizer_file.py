"""A tokenizer whose configuration names another class than its tokenizer.json was made for cuts text as the file says."""

import json
from pathlib import Path

import pytest
from tokenizer_kinds import TEXT, byte_level, metaspace_strip
from tokenizers import Tokenizer as Raw

from resources.subject.tokenizer import Tokenizer
from resources.weights import ModelFolder, load_hf_tokenizer

TEXTS = (TEXT, " two  spaces", "你好世界…🎉", "The cat sat.", "<|im_end|>")


def saved(folder: Path, kind: str, named: str) -> ModelFolder:
    """A folder with a tokenizer of a kind, whose configuration names a class."""
    (byte_level if kind == "byte_level" else metaspace_strip)().save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": named}))
    return ModelFolder(str(folder), folder, None, "r")


@pytest.mark.parametrize("named", ["LlamaTokenizerFast", "LlamaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer", "GemmaTokenizer"])
@pytest.mark.parametrize("kind", ["byte_level", "metaspace_strip"])
def test_texts_are_cut_as_the_file_says_whatever_class_is_named(tmp_path: Path, kind: str, named: str) -> None:
    loaded = load_hf_tokenizer(saved(tmp_path, kind, named))
    stated, ours = Raw.from_file(str(tmp_path / "tokenizer.json")), Tokenizer(loaded, "r")
    for text in TEXTS[:-1]:
        expected = stated.encode(text, add_special_tokens=False).ids
        assert loaded.encode(text, add_special_tokens=False) == expected and expected
        assert ours.encode(text).tolist() == expected and "".join(ours.tokens(expected)) == ours.text(expected)
    assert loaded.chat_template and not set(ours.encode(TEXTS[-1]).tolist()) & ours.control_token_ids


def test_a_folder_whose_class_fits_keeps_it(tmp_path: Path) -> None:
    folder = saved(tmp_path, "byte_level", "GPT2Tokenizer")
    assert type(load_hf_tokenizer(folder)).__name__ == "GPT2Tokenizer"
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"the tokenizer of .* cannot be read"):
        load_hf_tokenizer(folder)
