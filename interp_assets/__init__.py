"""interp-assets: explain every feature of a sparse autoencoder, score the explanations, and say how far to trust the scores."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp_assets.notebook.lab import open_lab as open

__all__ = ["open"]


def __getattr__(name: str) -> Any:
    """`interp_assets.open`, imported at its first use: importing the package loads nothing."""
    if name == "open":
        from interp_assets.notebook.lab import open_lab

        return open_lab
    raise AttributeError(f"module 'interp_assets' has no attribute {name!r}")
