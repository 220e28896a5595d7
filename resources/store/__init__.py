"""Files on disk: the Parquet lake, the activation spill, DuckDB's views, and files that are written whole."""
