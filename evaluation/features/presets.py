"""How an image becomes a model's input: the two protocols in use, by name.

``openclip``: the model's own preprocessing, as open_clip, CLIP_benchmark and DataComp evaluate.
``paper``: big_vision's, with which "Scaling (Down) CLIP" (Li et al. 2024) evaluates: resize to a square of side/0.875,
whatever the shape, then the centre; ImageNet-A the short side to side/0.75, then the centre; retrieval squashed to the
side; values in [-1, 1]. Prompts are lowercased and lose their punctuation (leaving that out cost 3 to 4 points:
big_vision's issue 166). Resizing is TensorFlow's: bilinear without antialiasing (of ImageNet-A by area), truncated to
bytes.

Both leave transparency aside, as their peers do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from clipsieve.evaluation.datasets.task import RetrievalTask, Task
from clipsieve.schemas.images import TASK_FORMATS, decode_image
from clipsieve.schemas.models import LoadedModel

Preprocess = Callable[[Image.Image], torch.Tensor]
"""RGB image -> float32[3, S, S]."""

SQUARE, ASPECT, SQUASH = "square875", "aspect75", "squash"


@dataclass(frozen=True)
class ImageProtocol:
    """One way from encoded image to model input; ``name`` tells it from the others in a cache."""

    name: str
    preprocess: Preprocess
    border: int = 0

    def pixels(self, image: tuple[str, bytes]) -> torch.Tensor:
        """(where, encoded image) -> float32[3, S, S]; one that cannot be decoded is an InputError."""
        where, data = image
        rgb = decode_image(data, where, TASK_FORMATS).convert("RGB")
        if self.border:
            rgb = rgb.crop((self.border, self.border, rgb.width - self.border, rgb.height - self.border))
        return self.preprocess(rgb)


def image_protocol(preset: str, model: LoadedModel, task: Task) -> ImageProtocol:
    """What ``preset`` does with the images of ``task``."""
    border = task.samples.border
    suffix = f"-border{border}" if border else ""
    if preset == "openclip":
        return ImageProtocol(f"openclip{suffix}", model.preprocess, border)
    shape = SQUASH if isinstance(task, RetrievalTask) else ASPECT if task.key == "imagenet-a" else SQUARE
    side = _side(model)
    return ImageProtocol(f"paper-{shape}-{side}{suffix}", partial(paper_pixels, shape=shape, side=side), border)


def paper_pixels(image: Image.Image, shape: str, side: int) -> torch.Tensor:
    """RGB image -> float32[3, side, side] in [-1, 1], as big_vision's ``_square875``, ``_aspect75`` or ``resize``."""
    pixels = np.asarray(image, np.float32)
    if shape == ASPECT:
        scale = int(side / 0.75) / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    else:
        longer = side if shape == SQUASH else int(side / 0.875)
        resized = cv2.resize(pixels, (longer, longer), interpolation=cv2.INTER_LINEAR)
    top, left = ((length - side) // 2 for length in resized.shape[:2])
    cropped = resized[top : top + side, left : left + side].astype(np.uint8)
    return torch.from_numpy(cropped).permute(2, 0, 1).float() / 127.5 - 1


def _side(model: LoadedModel) -> int:
    """Pixels of the side of a model's input."""
    visual: Any = model.model.visual
    size = visual.image_size
    return int(size[0] if isinstance(size, (tuple, list)) else size)
