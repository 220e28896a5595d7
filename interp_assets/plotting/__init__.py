"""Figures for a paper: each reads rows of the warehouse, draws them, and says in its caption n, interval and judge."""

from interp_assets.plotting import controls, correlations, layers, methods, scores, stability
from interp_assets.plotting.figure import Plot

PLOTS: tuple[Plot, ...] = (scores, methods, layers, controls, correlations, stability)
"""Every plot: one file each."""

__all__ = ["PLOTS", "Plot"]
