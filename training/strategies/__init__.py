"""Strategies: how a CLIP model is trained (views, masks and loss)."""
