"""How an image's pixels become what a tower takes."""

from __future__ import annotations

from typing import Any

import torch


class Normalise(torch.nn.Module):
    """uint8[B, 3, S, S] -> float32[B, 3, S, S] on the images' device, as open_clip's evaluation transform ends."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, preprocess_cfg: dict[str, Any], device: torch.device) -> None:
        super().__init__()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(preprocess_cfg[name], device=device).view(3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.float() / 255 - self.mean) / self.std
