"""The loss to a teacher against its formula in numpy, alone and shared out among processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies import distillation
from clipsieve.training.strategies.distillation import distilled

OPTIONS = TrainOptions(teacher="scores", teacher_weight=0.25, teacher_temperature=0.05)
SCALE = 20.0

pytestmark = pytest.mark.numeric


def unit(seed, *shape):
    values = np.random.default_rng(seed).normal(size=shape)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def divergence(image, text, taught):
    """The mean over the rows and both directions of KL(teacher || student), written out."""
    total = 0.0
    for turn in (False, True):
        ours, theirs = SCALE * image @ text.T, taught[:, 0] @ taught[:, 1].T / OPTIONS.teacher_temperature
        ours, theirs = (log_softmax(logits.T if turn else logits) for logits in (ours, theirs))
        total += (np.exp(theirs) * (theirs - ours)).sum(axis=1).mean() / 2
    return total


def loss_of(image, text, taught, runtime):
    features = {"image": torch.from_numpy(image), "text": torch.from_numpy(text)}
    taught = torch.from_numpy(taught)
    return distilled({"loss": torch.tensor(3.0)}, features, torch.tensor(SCALE), taught, OPTIONS, runtime)


def test_it_is_the_divergence_of_the_rows_and_its_share_of_the_loss(alone):
    image, text, taught = unit(0, 7, 5), unit(1, 7, 5), unit(2, 7, 2, 9)
    found, expected = loss_of(image, text, taught, alone), divergence(image, text, taught)
    assert found["teacher_loss"].item() == pytest.approx(expected, rel=1e-5)
    assert found["loss"].item() == pytest.approx(0.75 * 3 + 0.25 * expected, rel=1e-5)
    agreed = loss_of(image, text, np.stack([image, text], 1) * 1.0, alone)
    assert OPTIONS.teacher_temperature * SCALE == 1 and abs(agreed["teacher_loss"].item()) < 1e-5


def test_pairs_without_embeddings_are_in_no_row_and_no_column(alone):
    image, text, taught = unit(0, 7, 5), unit(1, 7, 5), unit(2, 7, 2, 9)
    known = [0, 2, 3, 6]
    taught[[1, 4, 5]] = 0
    found = loss_of(image, text, taught, alone)
    expected = divergence(image[known], text[known], taught[known])
    assert found["teacher_loss"].item() == pytest.approx(expected, rel=1e-5)
    nothing = loss_of(image, text, 0 * taught, alone)
    assert nothing["teacher_loss"].item() == 0


def test_the_mean_over_processes_is_the_loss_of_one(monkeypatch):
    image, text, taught = unit(0, 8, 5), unit(1, 8, 5), unit(2, 8, 2, 9)
    taught[[1, 2]] = 0
    everything = {"image": torch.from_numpy(image), "text": torch.from_numpy(text)}
    monkeypatch.setattr(distillation, "_gather_constant", lambda *_: torch.from_numpy(taught).float())
    parts = []
    for rank in (0, 1):
        own = slice(4 * rank, 4 * rank + 4)
        gathered = {everything[name][own].numpy().tobytes(): everything[name] for name in everything}
        monkeypatch.setattr(distillation, "gather", lambda part, _, all_=gathered: all_[part.numpy().tobytes()])
        runtime = Runtime(rank, 2, torch.device("cpu"), None)
        parts.append(loss_of(image[own], text[own], taught[own], runtime)["teacher_loss"].item())
    known = [0, *range(3, 8)]
    assert np.mean(parts) == pytest.approx(divergence(image[known], text[known], taught[known]), rel=1e-5)
