"""Filters: named rules and conditions that say which pairs may be selected, and why the others may not."""
