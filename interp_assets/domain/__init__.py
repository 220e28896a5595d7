"""The science of the platform as pure functions of arrays, strings and explicit seeds.

Nothing here knows files, models, clocks, logging or Dagster: numpy, polars frames and the standard library only.
"""
