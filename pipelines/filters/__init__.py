"""Filters: named rules and conditions that say which pairs may be selected, and why the others may not."""

from pipelines.filters.job import run
from pipelines.filters.show import rules_table, waterfall_table

__all__ = ["rules_table", "run", "waterfall_table"]
