"""Protocols: what is measured on a task's features."""
