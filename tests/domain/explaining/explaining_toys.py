"""ExplainerInput about a toy feature, and replies as small models write them."""

import pytest
from domain_toys import WORDS, make_example

from interp_assets.domain.explaining.shared.explainer_input import ExplainerInput, SteeredPrompt, TokenChanges

SHOWN = (
    make_example([0, 1, 2, 3, 4, 5, 13], [0, 4.0, 1.3, 0, 0, 0, 0], role="shown", row=0),
    make_example([8, 9, 10, 14, 15, 6, 7], [0, 2.0, 0.4, 0, 0.7, 0, 0], role="shown", row=1, stratum=5),
)
CONTRAST = (
    make_example([0, 10, 11, 0, 12, 13], [0.0] * 6, role="shown", row=2),
    make_example([4, 5, 14, 7, 2], [0.0] * 5, role="shown", row=3),
)
PROMOTED = ((" cat", 9.0), ("cat", 8.0), (" Cat", 7.5), ("\n", 3.0), ('"', 2.0))
SUPPRESSED = (("the", -4.0), (" snow", -3.0))
CLAMPED = (
    TokenChanges(2.5, ((" cat", 1.5), (" Cat", 1.0), (" purr", 0.5)), ((" dog", -0.7), ("\n", -0.2))),
    TokenChanges(-2.5, ((" dog", 0.9), (" snow", 0.1)), ((" cat", -2.0), ("cat", -1.0))),
)
STEERED = (
    SteeredPrompt(" the cat", ((" cat", 0.25), (" sat", 0.125), ("\n", 0.0001))),
    SteeredPrompt(" a mat, and\nthe dog", (("ran", 0.06), ("dog", -0.1))),
)
INPUT = ExplainerInput(
    7, SHOWN, WORDS, contrast=CONTRAST, promoted=PROMOTED, suppressed=SUPPRESSED, top_token=" cat", top_token_share=0.95, clamped=CLAMPED,
    steered=STEERED,
)  # fmt: skip

ECHO = "Text 1: the <<cat sat>> on a mat.\nText 2: the <<dog>> ran"
REPLIES = [
    pytest.param("[EXPLANATION]: animals", None, "ok", "animals", id="as asked"),
    pytest.param(
        "[EXPLANATION]: animals\nText 3: a <<bird>>\n[EXPLANATION]: animals and birds", None, "ok", "animals and birds", id="goes on"
    ),
    pytest.param(f"{ECHO}\n[EXPLANATION]: animals", None, "ok", "animals", id="echo, then the line"),
    pytest.param("[EXPLANATION]:\n**Animals**", None, "ok", "Animals", id="on the next line"),
    pytest.param("<think>\n[EXPLANATION]: mats\n</think>\n[EXPLANATION]: animals", None, "ok", "animals", id="reasoning"),
    pytest.param(ECHO, None, "unparsable", None, id="echo"),
    pytest.param("They are animals.", None, "unparsable", None, id="no tag"),
    pytest.param("<think>\n[EXPLANATION]: mats", None, "unparsable", None, id="reasoning without end"),
    pytest.param("[EXPLANATION]:", None, "empty", None, id="tag alone"),
    pytest.param("", None, "empty", None, id="silence"),
    pytest.param("", "connection reset", "model_error", None, id="error"),
]
