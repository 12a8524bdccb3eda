"""Each strategy's loss against its definition in numpy, and what a tower cannot do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.strategies.registry import fit_tower, make_strategy
from clipsieve.training.strategies.slip import OUTPUT, TEMPERATURE, simclr_loss
from clipsieve.training.towers.tower import build_model, load_tower

pytestmark = pytest.mark.numeric


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def strategy_of(tower_file, alone, **options):
    chosen = TrainOptions(tower=tower_file, slip_width=32, **options)
    torch.manual_seed(0)
    tower = fit_tower(load_tower(tower_file), chosen)
    return make_strategy(chosen, tower, build_model(tower), alone).train()


@pytest.fixture
def features():
    image, text = unit(np.random.default_rng(0).normal(size=(14, 16))).reshape(2, 7, 16)
    return {"image": torch.from_numpy(image), "text": torch.from_numpy(text)}


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_clips_loss_is_the_mean_of_both_cross_entropies(tower_file, alone, features):
    """Radford et al. 2021, figure 3."""
    strategy = strategy_of(tower_file, alone)
    strategy.model.logit_scale.data.fill_(math.log(13))
    logits = 13 * features["image"].numpy() @ features["text"].numpy().T
    expected = -(np.diag(log_softmax(logits)).mean() + np.diag(log_softmax(logits.T)).mean()) / 2
    assert strategy.loss(features)["loss"].item() == pytest.approx(expected, rel=1e-6)


def test_siglips_loss_is_the_sum_over_texts_of_log_sigmoids(tower_file, alone, features):
    """Zhai et al. 2023, algorithm 1; the temperature and the bias start at 10 and -10."""
    strategy = strategy_of(tower_file, alone, strategy="siglip")
    logits = 10 * features["image"].numpy() @ features["text"].numpy().T - 10
    labels = 2 * np.eye(7) - 1
    expected = np.log1p(np.exp(-labels * logits)).sum() / 7
    assert strategy.loss(features)["loss"].item() == pytest.approx(expected, rel=1e-6)


def nt_xent(first, second):
    """SimCLR's algorithm 1 over 2N views, its pairs side by side."""
    views = np.stack([first, second], axis=1).reshape(-1, first.shape[1])
    logits = views @ views.T / TEMPERATURE
    np.fill_diagonal(logits, -np.inf)
    return -log_softmax(logits)[np.arange(len(views)), np.arange(len(views)) ^ 1].mean()


def test_slips_second_loss_is_simclrs(tower_file, alone, features):
    first, second = unit(np.random.default_rng(1).normal(size=(12, 8))).reshape(2, 6, 8)
    every = torch.from_numpy(first), torch.from_numpy(second)
    assert simclr_loss(*every, *every, 0).item() == pytest.approx(nt_xent(first, second), rel=1e-9)
    parts = ([view[3 * rank :][:3] for view in every] for rank in (0, 1))
    halves = [simclr_loss(a, b, *every, rank).item() for rank, (a, b) in enumerate(parts)]
    assert np.mean(halves) == pytest.approx(nt_xent(first, second), rel=1e-9)


def test_slips_loss_is_clips_and_that_of_its_head(tower_file, alone, features):
    """The head written out: a product, a batch norm, a ReLU, twice, and a product."""
    strategy = strategy_of(tower_file, alone, strategy="slip", augment="crop")
    assert [view.name for view in strategy.views] == ["image", "ssl_a", "ssl_b"]
    assert [view.augment for view in strategy.views] == ["crop", "simclr", "simclr"]
    views = np.random.default_rng(2).normal(size=(2, 7, 32)).astype(np.float32)
    losses = strategy.loss(features | {"ssl_a": torch.from_numpy(views[0]), "ssl_b": torch.from_numpy(views[1])})
    first, _, _, second, _, _, last = strategy.head
    projected = []
    for view in views:
        for layer in (first, second):
            view = view @ layer.weight.detach().numpy().T
            view = np.maximum((view - view.mean(0)) / np.sqrt(view.var(0) + 1e-5), 0)
        projected.append(unit(view @ last.weight.detach().numpy().T + last.bias.detach().numpy()))
    assert projected[0].shape == (7, OUTPUT)
    assert losses["ssl_loss"].item() == pytest.approx(nt_xent(*projected), rel=1e-4)
    assert losses["loss"].item() == pytest.approx((losses["clip_loss"] + losses["ssl_loss"]).item())
    assert losses["clip_loss"] == strategy_of(tower_file, alone).loss(features)["loss"]


@pytest.mark.parametrize("name", ["vit-tiny-64", "conv-tiny-64", "regnet-tiny-64"])
def test_slip_compares_what_a_tower_has_before_its_projection(name, alone):
    strategy = strategy_of(name, alone, strategy="slip", augment="crop").eval()
    images = {view.name: torch.randn(2, 3, 64, 64) for view in strategy.views}
    found = strategy(images, torch.ones(2, strategy.model.context_length, dtype=torch.long))
    visual = strategy.model.visual
    project = visual.head if name != "vit-tiny-64" else lambda values: values @ visual.proj
    torch.testing.assert_close(project(found["ssl_a"]), visual(images["ssl_a"]))


def test_a_softmax_leaves_a_towers_bias_alone(tower_file, alone):
    chosen = TrainOptions(strategy="siglip")
    tower = fit_tower(load_tower(tower_file), chosen)
    strategy = make_strategy(TrainOptions(), tower, build_model(tower), alone)
    assert strategy.loss_parameters() == [strategy.model.logit_scale]
    learned = make_strategy(chosen, tower, build_model(tower), alone).loss_parameters()
    assert [parameter.item() for parameter in learned] == pytest.approx([math.log(10), -10])


@pytest.mark.parametrize("before, after", [(-3.0, 0.0), (2.5, 2.5), (9.0, math.log(100))])
def test_the_logit_scale_stays_between_1_and_100(tower_file, alone, before, after):
    strategy = strategy_of(tower_file, alone)
    strategy.model.logit_scale.data.fill_(before)
    strategy.clamp_scale()
    assert strategy.model.logit_scale.item() == pytest.approx(after)


def test_a_locked_image_tower_keeps_its_weights_and_batch_statistics(alone):
    strategy = strategy_of("regnet-tiny-64", alone, lock_image=True)
    before = {name: tensor.clone() for name, tensor in strategy.model.visual.trunk.state_dict().items()}
    texts = torch.randint(1, 100, (4, 16))
    strategy.loss(strategy({"image": torch.randn(4, 3, 64, 64)}, texts))["loss"].backward()
    after = strategy.model.visual.trunk.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(parameter.requires_grad for parameter in strategy.model.visual.trunk.parameters())
    assert strategy.model.text_projection.grad.abs().sum() > 0


def test_a_tower_is_fitted_to_fewer_tokens(tower_file):
    tower = load_tower(tower_file)
    fitted = fit_tower(tower, TrainOptions(image_size=32, context_length=5))
    model = build_model(fitted)
    assert fitted.image_size == 32 and model.visual.grid_size == (4, 4) and model.context_length == 5
    assert tower.image_size == 16  # as it was
    assert fit_tower(tower, TrainOptions()) == tower


def test_what_a_strategy_cannot_do_is_refused(tower_file, alone):
    with pytest.raises(InputError, match=r"`accumulate` 2: the batch norms of tower .* would see micro-batches"):
        strategy_of("regnet-tiny-64", alone, accumulate=2)
    with pytest.raises(InputError, match=r"`image_mask` grid: tower .* has 3 x 3 patches, which do not divide"):
        strategy_of(tower_file, alone, image_mask="grid", image_size=24)
    with pytest.raises(ValidationError, match="`strategy` slip compares crops: set `augment` to crop"):
        TrainOptions(strategy="slip")
