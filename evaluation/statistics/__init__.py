"""What an evaluation's figures are worth: intervals, paired differences, sources of variance, and fitted laws."""

from evaluation.statistics.auc import auc, paired_auc
from evaluation.statistics.intervals import Estimate, percentile_interval, widened, wilson
from evaluation.statistics.paired import (
    Difference,
    bootstrap_counts,
    by_cluster,
    difference_of,
    paired_difference,
    paired_draws,
)
from evaluation.statistics.robustness import RobustnessLine, fit_robustness
from evaluation.statistics.scaling import ScalingFit, fit_scaling
from evaluation.statistics.variance import VarianceSplit, split_variance

__all__ = [
    "Difference",
    "Estimate",
    "RobustnessLine",
    "ScalingFit",
    "VarianceSplit",
    "auc",
    "bootstrap_counts",
    "by_cluster",
    "difference_of",
    "fit_robustness",
    "fit_scaling",
    "paired_auc",
    "paired_difference",
    "paired_draws",
    "percentile_interval",
    "split_variance",
    "widened",
    "wilson",
]
