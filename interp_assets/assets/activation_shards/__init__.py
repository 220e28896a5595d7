"""The asset `activation_shards`."""
