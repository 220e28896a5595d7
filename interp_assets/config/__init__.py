"""What users write: settings, dictionary records and their keys, read from YAML files that may hold anything."""
