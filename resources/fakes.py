"""Deterministic stand-ins for the models: a tiny random transformer, a word tokenizer, and a scripted judge. For tests and dry runs.

The subject is a real two-block Llama with random weights, so every hook, dictionary and harvest runs as with a real model; the
language model answers by rule, so the whole graph takes seconds and gives the same results each time.
"""

import json
import re
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from resources.language_models.interface import ChoiceList, JsonReply, LanguageModel, Reply, Request
from resources.language_models.scripted import ScriptedModel, token_estimate
from resources.subject.chat_texts import ChatTemplateError
from resources.subject.interface import SubjectTokenizer, TokenIds
from resources.weights import ModelFolder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from resources.dictionaries import Dictionary
    from resources.model_provider import ModelProvider
    from resources.subject.model import SubjectModel

WORDS = tuple(
    """
    the of and to in a is that it was for on are as with his they at be this from have or by one had not but what all were we when
    your can said there use an each which she do how their if will up other about out many then them these so some her would make
    like him into time has look two more write go see number no way could people my than first water been call who oil its now find
    long down day did get come made may part king war law tax ship bread stone river night winter summer red blue green
    """.split()  # noqa: SIM905
)
SPECIAL = ("<unk>", "<bos>", "<eos>")


class FakeTokenizer:
    """A `SubjectTokenizer`. One token a word of WORDS; the text of a token is the word with a space before it. Other words are <unk>."""

    revision = "fake-tokenizer-1"
    bos_token_id = 1
    eos_token_id = 2
    all_special_ids = (1, 2)
    special_token_ids = control_token_ids = frozenset(all_special_ids)
    vocabulary_size = len(SPECIAL) + len(WORDS)
    text_token_ids = np.arange(len(SPECIAL), vocabulary_size)
    has_chat_template = False

    def encode(self, text: str) -> np.ndarray:
        """int32 [n] ids."""
        known = {word: number for number, word in enumerate(WORDS, start=len(SPECIAL))}
        return np.asarray([known.get(word, 0) for word in re.findall(r"[a-z]+", text.lower())], dtype=np.int32)

    def encode_messages(self, messages: Sequence[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Refused: words have no chat template."""
        raise ChatTemplateError("the word tokenizer has no chat template")

    def tokens(self, token_ids: TokenIds) -> list[str]:
        """The text of each id."""
        texts = [*SPECIAL, *(f" {word}" for word in WORDS)]
        return [texts[int(i)] for i in token_ids]

    texts = tokens

    def is_plain(self, token_ids: np.ndarray) -> np.ndarray:
        """No text depends on the tokens beside it."""
        return np.ones(len(token_ids), dtype=bool)

    def begins_inside_character(self, token_ids: np.ndarray) -> np.ndarray:
        """Tokens are whole words."""
        return np.zeros(len(token_ids), dtype=bool)

    def text(self, token_ids: TokenIds) -> str:
        """The text of a run of ids."""
        return "".join(self.tokens(token_ids))

    def ids_of(self, texts: Sequence[str]) -> list[int]:
        """The id of each token text, -1 for a text that no token has."""
        ids = {text: number for number, text in enumerate(self.tokens(range(self.vocabulary_size)))}
        return [ids.get(text, -1) for text in texts]


class HashedWords:
    """A `SentenceEncoder` without weights: each word is a fixed random direction, a text the scaled sum of its words."""

    revision = "hashed-words-1"

    def __init__(self, on_load: Callable[[], None] = lambda: None, dimensions: int = 64) -> None:
        self._on_load, self._dimensions, self._loaded = on_load, dimensions, False

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, dimensions], rows of length 1; a text without words is the first axis."""
        if not self._loaded:
            self._on_load()
        self._loaded = True
        vectors = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                vector += np.random.default_rng(zlib.crc32(word.encode())).standard_normal(self._dimensions, dtype=np.float32)
            vector[0] += not vector.any()
            vector /= np.linalg.norm(vector)
        return vectors

    def close(self) -> None:
        """Reset the mark that the encoder was loaded."""
        self._loaded = False


class FakeModels:
    """A `ModelProvider` of stand-ins. `asked` counts the requests that reached a language model, `loads` the model loads."""

    def __init__(self) -> None:
        self.asked = 0
        self.loads = 0

    def tokenizer(self, source: str, revision: str | None) -> SubjectTokenizer:
        """The word tokenizer, for any source."""
        return FakeTokenizer()

    def subject(self, source: str, revision: str | None, dtype: str | None, hooks: Sequence[str] | None = None) -> "SubjectModel":
        """A two-block Llama of width 32 with 64 MLP neurons, its weights drawn with a fixed seed."""
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from resources.subject.model import SubjectModel

        self.loads += 1
        config = LlamaConfig(
            vocab_size=len(SPECIAL) + len(WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = LlamaForCausalLM(config).eval().requires_grad_(False)
            for block in cast(Any, model.model.layers):
                block.mlp.gate_proj.weight *= 20  # as spread out as the weights of a trained model, so that neurons differ
        folder = ModelFolder("fake-subject", None, "fake-subject", "1")
        return SubjectModel(model, cast("PreTrainedTokenizerBase", FakeTokenizer()), folder)

    def dictionary(self, **record: Any) -> "Dictionary":
        """The real loader: neurons of the stand-in subject need no files."""
        from resources.dictionaries import load_dictionary

        return load_dictionary(**record)

    def language_model(self, backend: str, model: str, revision: str | None, options: dict[str, Any]) -> LanguageModel:
        """A judge that names the first marked word as explanation and says 1 where that word stands in the text."""
        self.loads += 1

        def answer(request: Request) -> str | Reply:
            self.asked += 1
            return scripted_answer(request)

        return ScriptedModel(answer)

    def sentence_encoder(self, source: str, revision: str | None) -> HashedWords:
        """Hashed words, for any source."""

        def count() -> None:
            self.loads += 1

        return HashedWords(count)


if TYPE_CHECKING:
    _checked: ModelProvider = FakeModels()


def scripted_answer(request: Request) -> str | Reply:
    """The judge's reply. Of a description, the judge reads only the last word.

    An explanation names the first marked word, and a pattern matches it. A text fits (1, or the rating 2) where it has the word; it is
    likelier where it has the word; the feature fires on that word alone. Of several descriptions the first fits whose word is in the texts.
    Of several texts, the odd one has the rarest first marked word. Of several sets, the neuron's set says the word most. Texts that the
    judge writes hold the word (without a description the first marked word), or are about water. After a passage or text, words of the
    passage or text are likelier.
    """
    question = request.messages[-1].content
    if request.suffix:
        passage = re.findall(r"^Passage: (.*)$", question, re.M) or re.findall(r"\AText: (.*)\n\n", question, re.S)
        return _likelihood(request, _words(passage[-1]) if passage else [_last_word(question)])
    if isinstance(request.reply_format, JsonReply):
        marked = [] if "Description: " in question else re.findall(r"<<\s*(\w+)", question)
        return _written(json.loads(request.reply_format.schema), marked[0] if marked else _last_word(question))
    if isinstance(request.reply_format, ChoiceList) and request.reply_format.count == 1 and request.reply_format.options[0] == "1":
        return f"[{_chosen(question)}]"
    if not isinstance(request.reply_format, ChoiceList):
        marked = re.findall(r"<<\s*([^<>]+?)\s*>>", question)
        word = marked[0].split()[0] if marked else "nothing"
        return f"[EXPLANATION]: [:symbol {word}:]" if "[:symbol " in request.messages[0].content else f"[EXPLANATION]: the word {word}"
    description, *texts = re.split(r"\nText \d+: ", question)
    most = len(request.reply_format.options) - 1
    return str([most * int(_last_word(description) in _words(text)) for text in texts])


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _last_word(question: str) -> str:
    """The last word of the description in a question."""
    described = re.findall(r"^Description: (.*)$", question, re.M)
    words = _words(described[-1] if described else question)
    return words[-1] if words else "nothing"


def _likelihood(request: Request, likely: Sequence[str]) -> Reply:
    """Each word of the suffix is likelier if it is one of `likely`. At a placeholder after the last of these words the last option is
    likelier, elsewhere the first."""
    choices = request.suffix_choices
    shares = None
    if choices is not None:
        before = request.suffix.split(choices.placeholder)[:-1]
        last = len(choices.options) - 1
        hits = [last if _words(text)[-1:] == likely[-1:] else 0 for text in before]
        shares = tuple(tuple(float(option == hit) for option in range(last + 1)) for hit in hits)
    logprobs = tuple(-1.0 if token in likely else -2.0 for token in _words(request.suffix))
    prompt_tokens = sum(token_estimate(message.content) for message in request.messages) + len(logprobs)
    return Reply("", "stop", prompt_tokens, 0, 0, 0.0, suffix_logprobs=logprobs, suffix_choices=shares)


def _written(schema: dict[str, Any], word: str) -> str:
    """A text for each member that a JSON schema asks for; texts of members without "silent …" in their name hold `word`."""
    names = schema["properties"]
    return json.dumps({name: f"the {'water' if name.startswith('silent') else word} of number {place}" for place, name in enumerate(names)})


def _chosen(question: str) -> int:
    """The number of the description that fits the texts, of the set that fits the description, or of the odd text."""
    sets = re.split(r"^Set \d+:\n", question, flags=re.M)[1:]
    if sets:
        counts = [_words(one.split("\nDescription: ")[0]).count(_last_word(question)) for one in sets]
        return 1 + counts.index(max(counts))
    descriptions = re.findall(r"^Description \d+: (.*)$", question, re.M)
    if descriptions:
        seen = set(_words(question.split("\nDescription 1: ")[0]))
        return next((number for number, text in enumerate(descriptions, start=1) if _last_word(text) in seen), 1)
    marked = [(re.findall(r"<<\s*(\w*)", text) or [""])[0] for text in re.findall(r"^Text \d+: (.*)$", question, re.M)]
    return 1 + min(range(len(marked)), key=lambda place: (marked.count(marked[place]), place))
