"""The report of a run: one self-contained HTML file that works from ``file://``, without any network."""

from evaluation.report.page import run
from evaluation.report.summary import summary_table

__all__ = ["run", "summary_table"]
