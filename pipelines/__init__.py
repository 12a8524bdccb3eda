"""Beam jobs over shards: download, score, select, reshard; and verify, which checks what they wrote."""
