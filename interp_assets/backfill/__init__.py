"""`interp backfill`: the plan, its cost, and its launch."""
