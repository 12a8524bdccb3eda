"""Towers: open_clip model configurations with their preprocessing, one JSON file each, in the shape of
``open_clip_config.json``, so that a trained model's folder loads in open_clip as it is.

To add a tower, add its file here: ``{"model_cfg": …, "preprocess_cfg": …}``; its name is the file's.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import timm
from open_clip.model import CLIP, CustomTextCLIP

from clipsieve.schemas import small_models  # noqa: F401  makes its towers known to timm
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.files import sha256_text
from clipsieve.schemas.tokenizer import pieces_digest, portable_text_cfg

ClipModel: TypeAlias = CLIP | CustomTextCLIP

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Tower:
    """One architecture: both towers of a CLIP model and how its images are prepared."""

    name: str
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]

    @property
    def image_size(self) -> int:
        """Pixels of the square input's side."""
        return int(self.preprocess_cfg["size"])

    @property
    def digest(self) -> str:
        """32 hex digits over both configurations; a SentencePiece model counts by its content, not by its path."""
        model_cfg = {**self.model_cfg, "text_cfg": portable_text_cfg(self.model_cfg["text_cfg"])}
        config = json.dumps([model_cfg, self.preprocess_cfg], sort_keys=True)
        return sha256_text(config, *filter(None, [pieces_digest(self.model_cfg["text_cfg"])]))[:32]


def tower_names() -> list[str]:
    """The towers that come with clipsieve."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def load_tower(name: str) -> Tower:
    """The tower of that name, or of the configuration file at that path.

    Raises InputError for an unknown name, and for a file that lacks a key or contradicts itself.
    """
    path = _FOLDER / f"{name}.json" if name in tower_names() else Path(name)
    if not path.is_file():
        raise InputError(f"`tower` {name!r}: neither a file nor one of {', '.join(tower_names())}")
    try:
        config = json.loads(path.read_text("utf-8"))
        tower = Tower(name, config["model_cfg"], config["preprocess_cfg"])
        sizes = tower.image_size, tower.model_cfg["vision_cfg"]["image_size"]
        tower.model_cfg["text_cfg"], tower.preprocess_cfg["mean"], tower.preprocess_cfg["std"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a tower's configuration ({error!r})") from error
    if sizes[0] != sizes[1]:
        raise InputError(f"{path}: preprocess_cfg.size {sizes[0]} is not vision_cfg.image_size {sizes[1]}")
    return tower


def build_model(tower: Tower) -> ClipModel:
    """A new open_clip model in fp32 on torch's default device, its weights drawn from torch's generator.

    It is of the class that ``open_clip.create_model`` would build, so its weights load there. Raises InputError for
    what open_clip cannot build, and for an image size that the architecture cannot take.
    """
    _check_image_size(tower)
    config = copy.deepcopy(tower.model_cfg)
    model_class = CustomTextCLIP if config.pop("custom_text", False) else CLIP
    try:
        return model_class(**config)
    except (TypeError, ValueError, KeyError, AttributeError, AssertionError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"tower {tower.name!r}: open_clip cannot build model_cfg: {reason}") from error


def _check_image_size(tower: Tower) -> None:
    """Open_clip builds a timm model at timm's own size; one whose layers hold to it (Swin, Mixer) takes no other."""
    name = tower.model_cfg["vision_cfg"].get("timm_model_name")
    config = timm.get_pretrained_cfg(name) if name and timm.is_model(name) else None
    if config is not None and config.fixed_input_size and config.input_size[1] != tower.image_size:
        raise InputError(
            f"tower {tower.name!r}: {name} takes images of {config.input_size[1]} px alone, not of {tower.image_size}; "
            "take that `image_size`, or another tower"
        )
