"""The input table: Parquet, CSV, TSV or JSONL of (URL, caption) rows, cut into shards."""
