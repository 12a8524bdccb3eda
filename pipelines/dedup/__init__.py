"""Dedup: which pairs repeat another, by their bytes, hashes, pixels or embeddings, or an image of an evaluation."""
