"""The graph, one file per stage: documents → token_sample → activation_shards → examples → explanations → scores → warehouse."""
