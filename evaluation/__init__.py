"""Judges models: tasks on disk, zero-shot classification, retrieval, their statistics, and the report."""
