"""Evaluations of several models compared: paired differences, scaling laws and effective robustness."""

from evaluation.compare.page import write_page
from evaluation.compare.run import Comparison, compare
from evaluation.compare.show import comparison_tables

__all__ = ["Comparison", "compare", "comparison_tables", "write_page"]
