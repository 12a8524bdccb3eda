"""Looking at what a model gets wrong: classes, confident mistakes and retrievals, with their pictures."""

from evaluation.sight.page import write_page

__all__ = ["write_page"]
