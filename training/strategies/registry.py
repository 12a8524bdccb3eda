"""Strategies: how a CLIP model is trained. To add one, add its file here and a line to `_STRATEGIES`."""

from __future__ import annotations

import copy

import torch

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.tokenizer import CANONICAL, read_pieces
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.base import CAPTION_VIEW, Strategy, View
from clipsieve.training.strategies.clip import Clip
from clipsieve.training.strategies.siglip import INITIAL_BIAS, INITIAL_SCALE, SigLip
from clipsieve.training.strategies.slip import Slip
from clipsieve.training.towers.tower import ClipModel, Tower

__all__ = ["CAPTION_VIEW", "Strategy", "View", "fit_tower", "make_strategy"]

_BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm)
_STRATEGIES: dict[str, type[Strategy]] = {"clip": Clip, "siglip": SigLip, "slip": Slip}


def make_strategy(options: TrainOptions, tower: Tower, model: ClipModel, runtime: Runtime) -> Strategy:
    """The strategy that ``options`` name, over ``model``; its heads' weights are drawn from torch's generator.

    Raises InputError, with the reason, for what the tower cannot do.
    """
    if options.accumulate > 1 and any(isinstance(module, _BATCH_NORMS) for module in model.modules()):
        raise InputError(
            f"`accumulate` {options.accumulate}: the batch norms of tower {tower.name!r} would see micro-batches, not "
            "the batch; take more processes, or a tower without them"
        )
    return _STRATEGIES[options.strategy](options, tower, model, runtime)


def fit_tower(tower: Tower, options: TrainOptions) -> Tower:
    """The tower as ``options`` train it: with their image size, text and tokenizer, and what their loss learns."""
    model_cfg, preprocess_cfg = copy.deepcopy((tower.model_cfg, tower.preprocess_cfg))
    if options.image_size is not None:
        model_cfg["vision_cfg"]["image_size"] = preprocess_cfg["size"] = options.image_size
    if options.context_length is not None:
        model_cfg["text_cfg"]["context_length"] = options.context_length
    if options.tokenizer is not None:
        pieces = read_pieces(options.tokenizer).vocab_size()
        model_cfg["text_cfg"] |= {"hf_tokenizer_name": options.tokenizer, "vocab_size": pieces}
    if options.canonicalize:
        settings = model_cfg["text_cfg"].get("tokenizer_kwargs") or {}
        model_cfg["text_cfg"]["tokenizer_kwargs"] = {**settings, **CANONICAL}
    if options.strategy == "siglip":
        model_cfg.setdefault("init_logit_bias", INITIAL_BIAS)
        model_cfg.setdefault("init_logit_scale", INITIAL_SCALE)
    return Tower(tower.name, model_cfg, preprocess_cfg)
