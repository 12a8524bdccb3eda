"""Shortened and shared texts give the features, the loss and the gradients of whole ones."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.tokenizer import tokenizer_for
from clipsieve.training.strategies.registry import fit_tower, make_strategy
from clipsieve.training.strategies.texts import brief_texts, encode_text
from clipsieve.training.towers.tower import build_model, load_tower
from tests.training.precision import default_dtype

CAPTIONS = ["a red square", "zebra ☃", "", "a red square", "a red square", "a"]

pytestmark = pytest.mark.numeric


def tower_of(tower_file, layers=3, **text):
    tower = copy.deepcopy(load_tower(tower_file))
    tower.model_cfg["text_cfg"] |= {"layers": layers, "context_length": 24, **text}
    return tower


def model_of(tower):
    torch.manual_seed(0)
    return build_model(tower).eval()


@pytest.mark.parametrize("text", [{}, {"pool_type": "eos", "eos_id": 599}])
def test_a_shortened_caption_has_the_features_of_the_whole_one(tower_file, text):
    tower = tower_of(tower_file, **text)
    tokens = tokenizer_for(tower.model_cfg["text_cfg"])(CAPTIONS)
    with default_dtype(torch.float64), torch.no_grad():
        model = model_of(tower)
        brief, rows = brief_texts(model, tokens)
        found = encode_text(model, brief)[rows]
        torch.testing.assert_close(found, model.encode_text(tokens, normalize=True), atol=1e-13, rtol=0)
    longest = max(int((row != 0).sum()) for row in tokens)
    assert brief.shape == (4, longest) and longest < 24


@given(st.lists(st.lists(st.integers(0, 9), min_size=24, max_size=24), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_whatever_the_tokens_the_features_are_those_of_all_places(tower_file, tokens):
    texts = torch.tensor(tokens)
    with default_dtype(torch.float64), torch.no_grad():
        model = model_of(tower_of(tower_file, layers=1))
        brief, rows = brief_texts(model, texts)
        found = encode_text(model, brief)
        whole = model.encode_text(texts, normalize=True)
    torch.testing.assert_close(found if rows is None else found[rows], whole, atol=1e-13, rtol=0)


@pytest.mark.parametrize("text", [{"no_causal_mask": True}, {"pool_type": "last"}])
def test_a_tower_to_which_the_padding_matters_keeps_its_context(tower_file, text):
    model = model_of(tower_of(tower_file, **text))
    tokens = torch.tensor([[5, 9, 0, 0] + 20 * [0]]).repeat(2, 1)
    assert brief_texts(model, tokens)[0].shape == (1, 24)


def test_few_equal_captions_are_encoded_each_for_itself(tower_file):
    model = model_of(tower_of(tower_file))
    tokens = torch.arange(11).clamp(min=1)[:, None].repeat(1, 24)  # the first two are equal
    brief, rows = brief_texts(model, tokens)
    assert rows is None and torch.equal(brief, tokens[:, :1])


@pytest.mark.parametrize("options", [{}, {"strategy": "siglip"}])
def test_loss_and_gradients_are_those_of_whole_texts(tower_file, alone, options):
    chosen = TrainOptions(**options)
    tower = fit_tower(tower_of(tower_file), chosen)
    tokens = tokenizer_for(tower.model_cfg["text_cfg"])(CAPTIONS)
    generator = torch.Generator().manual_seed(1)
    with default_dtype(torch.float64):
        strategy = make_strategy(chosen, tower, model_of(tower), alone)
        images = {"image": torch.randn((len(CAPTIONS), 3, 16, 16), generator=generator)}
        brief, rows = brief_texts(strategy.model, tokens)
        assert len(brief) == 4
        expected = backward(strategy, strategy(images, tokens))
        ours = backward(strategy, strategy(images, brief, None, rows))
    assert ours.keys() == expected.keys() and len(ours) > 20
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, atol=1e-13, rtol=0, msg=name)


def backward(strategy, features):
    """The loss, and the gradient of each weight."""
    strategy.zero_grad()
    loss = strategy.loss(features)["loss"]
    loss.backward()
    return {"loss": loss.detach()} | {n: p.grad.clone() for n, p in strategy.named_parameters() if p.grad is not None}
