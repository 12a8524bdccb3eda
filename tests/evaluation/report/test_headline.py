"""The first words say what the data supports, and no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clipsieve.evaluation.report.collect import collect
from clipsieve.evaluation.report.headline import MOST_NAMED, model_findings, pairs_sentence
from clipsieve.evaluation.statistics.intervals import Estimate


@pytest.fixture(scope="module")
def run(finished_run):
    return collect(str(finished_run))


def test_what_became_of_the_rows(run):
    sentence = pairs_sentence(run.steps, run.pool.scored, run.pool.eligible, run.main_cut)
    assert sentence == ("Of 64 input rows, 56 became scored pairs and 55 may be selected; the top 40% keeps 22.")
    assert pairs_sentence(run.steps[3:], 56, 56, None) == "56 scored pairs."


@pytest.mark.parametrize(
    ("difference", "verdict", "words"),
    [
        (
            Estimate(0.15, 0.05, 0.25),
            "better",
            "is better than on all pairs by 15.0 points (95% interval +5.0 to +25.0)",
        ),
        (Estimate(-0.1, -0.2, -0.01), "worse", "is worse than on all pairs by 10.0 points"),
        (Estimate(0.1, -0.02, 0.22), "open", "no difference is shown"),
        (Estimate(0.1, 0.0, 0.2), "open", "(+10.0 points; 95% interval +0.0 to +20.0, which includes zero)"),
    ],
)
def test_a_difference_is_claimed_only_where_its_interval_leaves_out_zero(run, difference, verdict, words):
    (finding,) = model_findings([replace(run.comparisons[2], difference=difference)])
    assert finding.verdict == verdict
    assert finding.text.startswith("accuracy (top 1) on Shapes: ")
    assert words in finding.text


def test_settled_findings_come_first_and_many_are_counted(run):
    clear = run.comparisons[0]
    unclear = replace(clear, difference=Estimate(0.0, -0.1, 0.1))
    assert [finding.verdict for finding in model_findings([unclear, clear])] == ["better", "open"]
    (finding,) = model_findings([clear] * MOST_NAMED + [unclear])
    assert "7 comparisons" in finding.text
    assert "6 are better, 0 are worse, and in 1 the 95% interval" in finding.text


def test_nothing_to_compare_is_said():
    assert "No model of this run can be compared" in model_findings([])[0].text
