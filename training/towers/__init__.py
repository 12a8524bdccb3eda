"""Towers: open_clip model configurations, one JSON file each."""
