"""Files that users write: settings, dictionary records and their keys, read from YAML files with any content."""
