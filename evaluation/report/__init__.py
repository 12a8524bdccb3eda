"""The report of a run: one self-contained HTML file that works from ``file://``, without any network."""

from evaluation.report.page import run

__all__ = ["run"]
