"""Takedown: remove the pairs that a list names from everything that a run holds, and record that in its manifests."""
