"""One feature and its relations: statistics, co-occurrence, matches, and packing of many features."""
