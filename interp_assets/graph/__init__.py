"""The graph as a whole: all assets and stages, their automation and their jobs."""
