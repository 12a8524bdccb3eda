"""A CLIP model as it passes between packages: a folder that open_clip reads as ``local-dir:FOLDER``.

It holds ``open_clip_config.json``, ``open_clip_model.safetensors`` and the tokenizer's files (``bpe.txt.gz``,
``spiece.model``, or Hugging Face's). Nothing is unpickled: weights are safetensors, or a foreign checkpoint that torch
reads with ``weights_only=True`` (law 7).
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError

from clipsieve.schemas import files, small_models, strict_json  # noqa: F401  small_models makes its towers known to timm
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.tensors import write_tensors
from clipsieve.schemas.tokenizer import Tokenizer, portable_text_cfg, resolved_text_cfg, tokenizer_files, tokenizer_for

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
_PROBE = ("A photo of 3 Größe-XL red &amp; blue  CATS!!", "猫と犬 🐱 https://example.org/?a=1", "word " * 100)
"""Captions in which tokenizers differ: case, entities, spaces, digits, other scripts, and more than any context."""
FORMS = "open_clip:MODEL/PRETRAINED, open_clip:MODEL@FILE, or a model folder"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to embed: fp32 weights in evaluation mode, its own preprocessing and tokenizer."""

    name: str
    model: torch.nn.Module
    preprocess: Callable[[Image.Image], torch.Tensor]
    """RGB image -> float32[3, S, S]."""
    tokenizer: Tokenizer
    digest: str
    """32 hex digits over weights, preprocessing and tokenizer."""


def load_model(spec: str) -> LoadedModel:
    """Load ``open_clip:MODEL/PRETRAINED``, ``open_clip:MODEL@FILE`` or a model folder, as its name says.

    Raises InputError when the model is unknown, or the file is missing, damaged, or of another architecture.
    """
    logging.getLogger().setLevel(max(logging.getLogger().level, logging.WARNING))
    if not spec.startswith("open_clip:"):
        return _load_folder(spec)
    name, at, weights = spec.removeprefix("open_clip:").partition("@")
    pretrained = weights
    if not at:
        name, slash, pretrained = name.rpartition("/")
        if not slash:
            raise InputError(f"{spec}: not a model; give {FORMS}")
        if pretrained not in open_clip.list_pretrained_tags_by_model(name):
            raise InputError(f"{spec}: open_clip knows no weights {pretrained!r} of a model {name!r}")
    elif not Path(weights).is_file():
        raise InputError(f"{spec}: no such file {weights}")
    if open_clip.get_model_config(name) is None:
        raise InputError(f"{spec}: open_clip knows no model {name!r}; see open_clip.list_models()")
    config = open_clip.get_model_config(name)
    return _build(spec, name, pretrained, config, config["text_cfg"])


def save_model(folder: str, model: torch.nn.Module, model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any]) -> None:
    """Write a model folder; ``model`` is an open_clip model of ``model_cfg``."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    portable = {**model_cfg, "text_cfg": portable_text_cfg(model_cfg["text_cfg"])}
    config = {"model_cfg": portable, "preprocess_cfg": preprocess_cfg}
    files.write_bytes(files.join(folder, CONFIG_NAME), strict_json.dumps(config, indent=1).encode())
    for name, content in tokenizer_files(model_cfg["text_cfg"]).items():
        files.write_bytes(files.join(folder, name), content)
    write_tensors(files.join(folder, WEIGHTS_NAME), weights)


def _load_folder(folder: str) -> LoadedModel:
    config_path = Path(folder) / CONFIG_NAME
    if not config_path.is_file():
        raise InputError(f"{folder}: not a model (no {CONFIG_NAME} there); give {FORMS}")
    if not (Path(folder) / WEIGHTS_NAME).is_file():
        raise InputError(f"{folder}: no {WEIGHTS_NAME} there")
    try:
        model_cfg = json.loads(config_path.read_text("utf-8"))["model_cfg"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{config_path}: not an open_clip configuration ({error!r})") from error
    return _build(folder, f"local-dir:{folder}", None, model_cfg, resolved_text_cfg(model_cfg["text_cfg"], folder))


def _build(
    spec: str, name: str, pretrained: str | None, model_cfg: dict[str, Any], text_cfg: dict[str, Any]
) -> LoadedModel:
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=pretrained, weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        OSError,
    ) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{spec}: the model cannot be loaded: {reason}") from error
    tokenizer = tokenizer_for(text_cfg)
    digest = _digest(model, repr(preprocess), model_cfg["text_cfg"], tokenizer)
    return LoadedModel(spec, model.eval().float(), preprocess, tokenizer, digest)


def _digest(model: torch.nn.Module, preprocess: str, text_cfg: dict[str, Any], tokenizer: Tokenizer) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps(text_cfg, sort_keys=True, default=str).encode())
    digest.update(tokenizer(_PROBE).numpy().tobytes())  # a tokenizer's name says little: its files may change
    digest.update(_without_addresses(preprocess).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def _without_addresses(text: str) -> str:
    """A transform's repr less the memory addresses of its functions."""
    return " ".join(word for word in text.split() if not word.startswith("0x"))
