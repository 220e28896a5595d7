"""Colours of series in plots, told apart with any kind of colour vision and on light and dark pages."""

PLOT_COLOURS = ("#2f6db3", "#d1822b", "#3d9970", "#a05195")
