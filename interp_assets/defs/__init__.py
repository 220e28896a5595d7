"""Empty on purpose: `dg` requires a defs folder; the definitions are in `interp_assets.definitions`."""
