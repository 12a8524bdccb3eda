"""Drift: which downloaded images are not what the pool's publisher saw."""
