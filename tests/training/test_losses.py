"""CLIP's loss against its definition in numpy (Radford et al. 2021, figure 3)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.losses import clamp_scale, clip_loss
from training.runtime import Runtime
from training.towers import build_model, load_tower


def test_the_loss_is_the_mean_of_both_cross_entropies():
    rng = np.random.default_rng(0)
    image, text = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, 7, 5)))
    logits = 13.0 * image @ text.T
    rows = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
    columns = np.log(np.exp(logits).sum(axis=0)) - np.diag(logits)
    loss = clip_loss(Runtime(0, 1, torch.device("cpu"), None))
    ours = loss(torch.from_numpy(image), torch.from_numpy(text), torch.tensor(13.0))
    assert ours.item() == pytest.approx((rows.mean() + columns.mean()) / 2)


@pytest.mark.parametrize("before, after", [(-3.0, 0.0), (2.5, 2.5), (9.0, math.log(100))])
def test_the_logit_scale_stays_between_1_and_100(tower_file, before, after):
    model = build_model(load_tower(tower_file))
    model.logit_scale.data.fill_(before)
    clamp_scale(model)
    assert model.logit_scale.item() == pytest.approx(after)
