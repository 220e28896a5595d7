"""Small tokenizers of every kind that models have, trained here, saved and loaded as real ones are."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

TEXT = (
    "The cat sat on the mat, and the old king was reading in the garden; it's a “quoted” word — naïve café, größer. "
    "def f(x):\n    return x << 2\n\tprint(f'{x}')  # two  spaces\n "
    "Кошка сидела на коврике. Η γάτα κάθισε. القطة تجلس على الحصيرة. बिल्ली चटाई पर बैठी। 猫坐在垫子上。日本語のテキスト。고양이가 앉았다. "
) * 3
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRIPPING_TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level() -> PreTrainedTokenizerFast:
    """GPT-2's, Llama 3's and Qwen's kind: byte-level BPE, control tokens of the form <|…|>, one of them not flagged as special."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    raw.add_special_tokens([AddedToken(token) for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    raw.add_tokens([AddedToken("<|fim_prefix|>"), AddedToken("<think>"), AddedToken("    ", normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT_TEMPLATE + "{# <think> #}"
    )


def metaspace_strip() -> PreTrainedTokenizerFast:
    """Llama 2's and Mistral's kind: BPE over ▁-words with byte fallback, whose decoder strips one leading space."""
    raw = _byte_fallback()
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1, right=0)]
    )
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=STRIPPING_TEMPLATE
    )


def byte_fallback() -> PreTrainedTokenizerFast:
    """Gemma's kind: the same without a space in front; its own tokens for HTML, and tokens kept in reserve."""
    raw = _byte_fallback()
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    raw.add_tokens([AddedToken(token, normalized=False) for token in ("<b>", "<unused7>", "\n\n")])
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def wordpiece() -> PreTrainedTokenizerFast:
    """BERT's kind: words in pieces, ##ing; unknown characters are [UNK]."""
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    raw.train_from_iterator([TEXT], trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"]))
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]")


def unigram() -> PreTrainedTokenizerFast:
    """T5's and XLM-R's kind: a unigram model, whose vocabulary has </s> with the best score of all."""
    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    raw.train_from_iterator([TEXT], trainers.UnigramTrainer(vocab_size=260, special_tokens=specials, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")


KINDS = {made.__name__: made for made in (byte_level, metaspace_strip, byte_fallback, wordpiece, unigram)}
LOSSLESS = ("byte_level", "metaspace_strip", "byte_fallback")
"""Kinds whose decoded ids are the text."""


@cache
def loaded(kind: str) -> Any:
    """The tokenizer of a kind, from its files."""
    folder = Path(mkdtemp(prefix=f"tokenizer-{kind}-"))
    KINDS[kind]().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def _byte_fallback() -> Tokenizer:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    latin = "".join(character for character in TEXT if character.isascii() or character in "猫é")
    trained.train_from_iterator([latin], trainers.BpeTrainer(vocab_size=200))
    merges = [tuple(pair) for pair in _model_of(trained)["merges"]]
    pieces = [piece for piece, _ in sorted(trained.get_vocab().items(), key=lambda item: item[1]) if piece not in ("\n", "\t")]
    vocabulary = {token: number for number, token in enumerate(["<unk>", "<s>", "</s>", *BYTES, *pieces])}
    merges = [pair for pair in merges if "".join(pair) in vocabulary and all(part in vocabulary for part in pair)]
    raw = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    raw.add_special_tokens([AddedToken(token, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    return raw


def _model_of(tokenizer: Tokenizer) -> dict[str, Any]:
    import json

    return json.loads(tokenizer.to_str())["model"]
