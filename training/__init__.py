"""Trains CLIP towers on subsets of shards: `clipsieve.training.train.run`, as ``clipsieve train`` calls it.

A run goes one way: a plan of samples (plan), read and decoded ahead (data, images), one loop (train) over a
tower (towers) and a strategy (strategies: views, masks, loss), steps (step) of an optimizer (optimizers) on a
schedule, its log and its checkpoint.
"""
