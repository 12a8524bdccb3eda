"""Evaluation tasks on disk: their layouts, their catalogue, their classes."""
