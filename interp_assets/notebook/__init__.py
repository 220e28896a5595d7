"""A home in a notebook: `import interp_assets as ia; lab = ia.open("/data/interp")`."""
