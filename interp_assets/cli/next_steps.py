"""What to do with dictionaries that are registered."""

from collections.abc import Sequence

from interp_assets.config.records import DictionaryRecord


def next_step(registered: Sequence[DictionaryRecord]) -> str:
    """What to do with records that are registered: a few features of the first record for a first look, and everything of all."""
    first = registered[0]
    few = [int(feature) for feature in first.selected_features[:10]]
    shown = f"{few[0]}-{few[-1]}" if len(few) > 1 and few[-1] - few[0] == len(few) - 1 else ",".join(map(str, few))
    if len(first.selected_features) > len(few):
        shown = f"firing:{len(few)}"  # the first features may well be dead
    look = f"a first look, in this terminal: interp run {first.key} --features {shown}"
    return f"{look}\nnext: interp backfill {' '.join(one.key for one in registered)}"
