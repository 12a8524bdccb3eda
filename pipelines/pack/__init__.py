"""Make shards of local pictures with captions."""
