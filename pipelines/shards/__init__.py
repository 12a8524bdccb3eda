"""The files of a shard: its tar, its rows, its counts."""
