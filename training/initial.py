"""Starts a run from another model's weights: a run's before it, or any that open_clip reads.

What depends on the number of tokens is fitted to the tower: so CLIPA trains on few tokens and then a little on many,
FLIP without its mask, LiT on an image tower that is there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip.model import resize_pos_embed

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.models import WEIGHTS_NAME, LoadedModel, load_model
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.tokenizer import tokenizer_for
from clipsieve.training.towers.tower import ClipModel, Tower, build_model

_PROBE = ("a photo of 3 CATS", "Größe", "red & blue", "https://example.org", "猫")
_IMAGE_POSITIONS = "visual.positional_embedding"
_TEXT_POSITIONS = ("positional_embedding", "text.positional_embedding")


def initial_model(tower: Tower, spec: str | None) -> ClipModel:
    """A model of ``tower``: new, or with the weights of ``spec`` (see `clipsieve.schemas.models.load_model`)."""
    model = build_model(tower)
    if spec is not None:
        load_initial(load_model(spec), model, tower)
    return model


def refuse_untrained_lock(tower: Tower, options: TrainOptions) -> None:
    """Raises InputError where the image tower is locked and nothing gives it trained weights.

    ``initial`` does, or the tower's own configuration, by open_clip's ``timm_model_pretrained``.
    """
    has_weights = options.initial is not None or tower.model_cfg["vision_cfg"].get("timm_model_pretrained")
    if options.lock_image and not has_weights:
        raise InputError(
            f"`lock_image` needs a trained image tower, and the weights of tower {tower.name!r} are random: set "
            "`initial` to the model whose image tower is to be kept"
        )


def initial_digest(spec: str) -> str:
    """SHA-256 of the weights file that ``spec`` names; of the name, where it is open_clip that knows the file."""
    if not spec.startswith("open_clip:"):
        return files.sha256_file(files.join(spec, WEIGHTS_NAME))
    _, at, path = spec.partition("@")
    return files.sha256_file(path) if at else files.sha256_text(spec)


def load_initial(initial: LoadedModel, model: ClipModel, tower: Tower) -> None:
    """Put the weights of ``initial`` into ``model``, a new one of ``tower``.

    A ViT's learned position embeddings are brought to its grid (bicubic, antialiased, as open_clip does); fixed ones
    are those of its own grid. A text tower's are brought to its context length. A scale or bias that only one of the
    losses learns is left out, or stays new.

    Raises InputError when a weight is missing, left over or of another shape, and when the tokenizers differ.
    """
    _check_tokenizers(initial, tower)
    weights, own = dict(initial.model.state_dict()), model.state_dict()
    resize_pos_embed(weights, model)
    if (fixed := fixed_positions(model)) is not None:
        weights[_IMAGE_POSITIONS] = fixed
    for name in _TEXT_POSITIONS:
        if name in weights and name in own:
            weights[name] = fit_text_positions(weights[name], len(own[name]))
    if "logit_bias" in own:
        weights.setdefault("logit_bias", own["logit_bias"])
    else:
        weights.pop("logit_bias", None)
    if wrong := _difference(weights, own):
        raise InputError(f"`initial` {initial.name}: its weights are not those of tower {tower.name!r}: {wrong}")
    model.load_state_dict(weights)


def fixed_positions(model: ClipModel) -> torch.Tensor | None:
    """A new ViT's position embeddings [1 + N, D] where they are sines and cosines, which nothing trains."""
    positions = getattr(model.visual, "positional_embedding", None)
    return None if positions is None or positions.requires_grad else positions.detach()


def fit_text_positions(positions: torch.Tensor, length: int) -> torch.Tensor:
    """Text position embeddings [L, D] -> [length, D].

    Fewer: the first ones, since a token keeps its place. More: stretched linearly, as open_clip's
    `resize_text_pos_embed` does, since nothing was learned of the further places.
    """
    if length <= len(positions):
        return positions[:length]
    return F.interpolate(positions.T[None], length, mode="linear", align_corners=False)[0].T


def _difference(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> str:
    """The first weight in which they differ, in words; empty where there is none."""
    for name in sorted(weights.keys() | own.keys()):
        if name not in own or name not in weights:
            return f"{name} is {'left over' if name not in own else 'missing'}"
        if weights[name].shape != own[name].shape:
            return f"{name} is {list(weights[name].shape)}, not {list(own[name].shape)}"
    return ""


def _check_tokenizers(initial: LoadedModel, tower: Tower) -> None:
    """Equal but for the context length, whose last place holds the end of a caption that was cut."""
    first, second = initial.tokenizer(_PROBE), tokenizer_for(tower.model_cfg["text_cfg"])(_PROBE)
    length = min(first.shape[1], second.shape[1]) - 1
    if not torch.equal(first[:, :length], second[:, :length]):
        raise InputError(
            f"`initial` {initial.name}: its tokenizer is not that of tower {tower.name!r}; give the same `tokenizer` "
            "and `canonicalize`"
        )
