"""Names of assets as `--only` takes them: an asset's own name, or a prefix such as `scores`, which stands for all scorers asked for."""

from collections.abc import Iterable, Sequence

from interp_assets.config.base import UserError
from interp_assets.config.nearest import nearest_words


def prefix_of(asset: str) -> str | None:
    """The prefix of an asset that is one of many methods, such as "scores" of "scores/fuzzing"; None of other assets."""
    return asset.split("/")[0] if "/" in asset else None


def is_named(asset: str, only: Sequence[str]) -> bool:
    """Whether `only` names an asset, by its own name or by its prefix."""
    return asset in only or prefix_of(asset) in only


def check_names(only: Sequence[str], assets: Iterable[str]) -> None:
    """Raise `UserError` for a name in `only` that is neither an asset nor the prefix of assets, with the nearest names."""
    known = list(assets)
    prefixes = list(dict.fromkeys(prefix for asset in known if (prefix := prefix_of(asset)) is not None))
    if unknown := sorted(set(only) - set(known) - set(prefixes)):
        near = list(dict.fromkeys(name for one in unknown for name in nearest_words(one, [*prefixes, *known])))
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        stages = "".join(f"{prefix} (all {prefix}/… that the settings ask for), " for prefix in prefixes)
        raise UserError(f"no asset is called {', '.join(unknown)}; {hint}assets are {stages}{', '.join(known)}")
