"""From shards to batches: the sample plan, its order, the loader, augmentations and texts."""
