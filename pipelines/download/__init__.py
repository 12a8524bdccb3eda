"""Download a table of pairs into shards."""
