"""Trains CLIP towers on subsets of shards: `training.train.run`, or ``python -m training.train``.

A run goes one way: a plan of samples (plan), read and decoded ahead (data, images), one loop (train) over a
tower (towers) with a loss (losses), an optimizer (optimizers) and a schedule, its log and its checkpoint.
"""
