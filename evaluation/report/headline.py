"""The report's first words: only what the data supports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clipsieve.evaluation.pages import words
from clipsieve.evaluation.report.comparisons import SubsetComparison
from clipsieve.evaluation.report.cuts import SubsetCut
from clipsieve.evaluation.report.funnel import Step

MOST_NAMED = 6


@dataclass(frozen=True)
class Finding:
    """A sentence on the models; ``open`` where the data does not settle who is better."""

    text: str
    verdict: Literal["better", "worse", "open"]


def pairs_sentence(steps: Sequence[Step], scored: int, eligible: int, cut: SubsetCut | None) -> str:
    """What became of the rows; ``cut`` is the subset that the rest of the report is about."""
    rows = steps[0].count
    downloaded = rows > scored
    start = f"Of {rows:,} input rows, {scored:,} became scored pairs" if downloaded else f"{scored:,} scored pairs"
    rejected = f" and {eligible:,} may be selected" if eligible < scored else ""
    kept = f"; the {words.subset(cut.name)} keeps {cut.count:,}" if cut else ""
    return f"{start}{rejected}{kept}."


def model_findings(comparisons: Sequence[SubsetComparison]) -> list[Finding]:
    """One sentence on each comparison, the settled ones first; of many, one on how many are settled."""
    if not comparisons:
        text = "No model of this run can be compared with one trained alike on all pairs and evaluated."
        return [Finding(text, "open")]
    if len(comparisons) > MOST_NAMED:
        return [Finding(_tally(comparisons), "open")]
    findings = [_finding(comparison) for comparison in comparisons]
    return sorted(findings, key=lambda finding: finding.verdict == "open")


def _finding(comparison: SubsetComparison) -> Finding:
    """Who is better at what and by how much; where the interval holds zero, that nothing is shown."""
    result, difference = comparison.result, comparison.difference
    subset = words.trained_on(comparison.model.data)
    measure = f"{words.metric(result.metric)} on {result.dataset}"
    interval = f"95% interval {words.signed(difference.low)} to {words.signed(difference.high)}"
    if not comparison.is_clear:
        text = (
            f"{measure}: no difference is shown between training on the {subset} and on all pairs "
            f"({words.signed(difference.value)} points; {interval}, which includes zero)."
        )
        return Finding(text, "open")
    verdict: Literal["better", "worse"] = "better" if difference.value > 0 else "worse"
    points = f"{abs(100 * difference.value):.1f} points"
    text = f"{measure}: training on the {subset} is {verdict} than on all pairs by {points} ({interval})."
    return Finding(text, verdict)


def _tally(comparisons: Sequence[SubsetComparison]) -> str:
    better = sum(comparison.difference.low > 0 for comparison in comparisons)
    worse = sum(comparison.difference.high < 0 for comparison in comparisons)
    unsettled = len(comparisons) - better - worse
    return (
        f"Of {len(comparisons)} comparisons with the model trained on all pairs, {better} are better, "
        f"{worse} are worse, and in {unsettled} the 95% interval of the difference includes zero."
    )
