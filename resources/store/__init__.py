"""Where results are kept on disk: the lake of Parquet partitions, its index, the activation spill, and DuckDB's views over the lake."""
