"""Which ids stand for text, on a tokenizer made by hand."""

from tokenizers import AddedToken
from tokenizers import Tokenizer as RawTokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from resources.subject.tokenizer import Tokenizer


def test_ids_of_text_are_without_marks_reserved_places_and_holes() -> None:
    """Ids 3 and 5 belong to no token; 7 is a run of spaces that was added and is text; 8 and 9 are control marks."""
    vocabulary = {"<eos>": 0, "the": 1, "king": 2, "<unused0>": 4, "<|reserved_special_token_1|>": 6}
    raw = RawTokenizer(WordLevel({**vocabulary, "<unk>": 10}, unk_token="<unk>"))
    hugging_face = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", unk_token="<unk>")
    hugging_face.add_tokens([AddedToken("    ", normalized=False), AddedToken("<|im_start|>", special=True)])
    tokenizer = Tokenizer(hugging_face, "1")
    spaces, mark = hugging_face.convert_tokens_to_ids(["    ", "<|im_start|>"])
    assert {3, 5}.isdisjoint(hugging_face.get_vocab().values())
    assert tokenizer.text_token_ids.tolist() == [1, 2, spaces] and mark > spaces


def test_a_tokenizer_with_a_decoding_of_its_own_is_asked_by_it() -> None:
    class Shouting(PreTrainedTokenizerFast):
        def _decode(self, token_ids: list[int], **options: object) -> str:
            return super()._decode(token_ids, **options).upper()

    raw = RawTokenizer(WordLevel({"the": 0, "king": 1, "<unk>": 2}, unk_token="<unk>"))
    assert Tokenizer(Shouting(tokenizer_object=raw, unk_token="<unk>"), "1").text([0, 1]) == "THE KING"
    assert Tokenizer(PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>"), "1").text([0, 2, 1]) == "the <unk> king"
