"""A tokenizer whose configuration names another class than its tokenizer.json was made for cuts text as the file says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizer_kinds import TEXT, byte_level, metaspace_strip
from tokenizers import Tokenizer as Raw
from transformers import AutoTokenizer

from resources.subject.tokenizer import Tokenizer
from resources.tokenizer_file import GENERIC_CLASSES, generic_tokenizer
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


@pytest.mark.parametrize("named", GENERIC_CLASSES)
@pytest.mark.parametrize("kind", ["byte_level", "metaspace_strip"])
def test_a_tokenizer_without_a_class_of_its_own_is_the_one_that_transformers_chooses(tmp_path: Path, kind: str, named: str) -> None:
    folder = saved(tmp_path, kind, named)
    ours, chosen = load_hf_tokenizer(folder), AutoTokenizer.from_pretrained(folder.location)
    assert type(ours) is type(chosen) and ours.get_vocab() == chosen.get_vocab()
    assert ours.special_tokens_map == chosen.special_tokens_map and ours.chat_template == chosen.chat_template
    for text in TEXTS:
        assert ours(text)["input_ids"] == chosen(text)["input_ids"]


def test_code_of_a_tokenizers_own_is_never_passed_over(tmp_path: Path) -> None:
    folder = saved(tmp_path, "byte_level", GENERIC_CLASSES[0])
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["a.B", None]}}))
    assert generic_tokenizer(folder.location, None) is None
    path.write_text("[")
    assert generic_tokenizer(folder.location, None) is None


def test_the_embedded_tokenizer_is_loaded_without_torch() -> None:
    """torch takes five times as long to import as the tokenizer to load."""
    code = (
        "import sys; from resources.subject.tokenizer import load_tokenizer; "
        "assert load_tokenizer('embedded:smollm2-135m-instruct').encode('a cat').size; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
