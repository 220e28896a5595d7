"""What the graph asks of a subject's tokenizer: `Tokenizer` has it for every Hugging Face tokenizer, `resources.fakes` for words."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

TokenIds = Sequence[int] | np.ndarray


class SubjectTokenizer(Protocol):
    """Text to ids, and each token's text in its place. `revision` names the tokenizer's files."""

    @property
    def revision(self) -> str: ...

    @property
    def bos_token_id(self) -> int | None: ...

    @property
    def eos_token_id(self) -> int | None: ...

    @property
    def special_token_ids(self) -> frozenset[int]:
        """Ids whose activations are left out."""
        ...

    @property
    def control_token_ids(self) -> frozenset[int]:
        """Ids of control tokens, which stand for no text."""
        ...

    @property
    def text_token_ids(self) -> np.ndarray:
        """int64 [n] ids that stand for text, ascending."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """Ids are below this."""
        ...

    @property
    def has_chat_template(self) -> bool:
        """Whether messages can be encoded."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """int32 [n] ids of a text, no special tokens among them; empty for an empty text."""
        ...

    def encode_messages(self, messages: Sequence[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """(int32 [n] ids of a chat of (role, content), int64 [n] the message whose content a token is wholly in, -1 for none).

        Raises `ChatTemplateError` where there is no chat template, or the template refuses the messages.
        """
        ...

    def tokens(self, token_ids: TokenIds) -> list[str]:
        """The text of each token of a run; joined they are `text(token_ids)`."""
        ...

    def texts(self, token_ids: TokenIds) -> list[str]:
        """Each token's own text, as in the middle of a text."""
        ...

    def is_plain(self, token_ids: np.ndarray) -> np.ndarray:
        """bool [n]: whether `texts` has a token's text wherever it stands, but for the beginning of a run."""
        ...

    def begins_inside_character(self, token_ids: np.ndarray) -> np.ndarray:
        """bool [n]: whether a token begins with a byte of the character that the token before it began."""
        ...

    def text(self, token_ids: TokenIds) -> str:
        """The text of a run of ids."""
        ...

    def ids_of(self, texts: Sequence[str]) -> list[int]:
        """The id of each token text, -1 where no id or several ids have it."""
        ...
