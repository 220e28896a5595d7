"""The query that an explanation becomes for the sentence encoder, wherever windows are compared with an explanation.

By default the explanation stands alone. Over 23 features of the demo's SAE with a strong reader's explanations, all-MiniLM-L6-v2 gave their
own windows an AUROC of 0.650 and 0.492 under another feature's explanation; after "A text that fits this description:" it gave 0.634 and
0.485, and other sentences did no better. Encoders that were trained with an instruction need theirs.
"""


def query(explanation: str, instruction: str = "") -> str:
    """The explanation as a query for the windows that it describes, after the encoder's instruction where there is one."""
    return f"{instruction} {explanation}" if instruction else explanation
