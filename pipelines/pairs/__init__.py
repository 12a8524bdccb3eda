"""The input table: Parquet, CSV, TSV or JSON of (URL, caption) rows, cut into shards."""
