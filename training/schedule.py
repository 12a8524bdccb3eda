"""The learning rate of each step: linear warm-up, then a cosine to zero."""

from __future__ import annotations

import math


def schedule(step: int, steps: int, warmup_steps: int) -> float:
    """Share of the peak learning rate at ``step`` of 0..steps-1; ``warmup_steps`` is below ``steps``.

    It starts at 1 / warmup_steps, is 1 at step warmup_steps - 1 and at the next, and would be 0 at ``steps``.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))
