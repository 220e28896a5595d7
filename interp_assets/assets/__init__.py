"""The assets, one folder an asset: documents → token_sample → activation_shards → examples → explanations → scores → warehouse."""
