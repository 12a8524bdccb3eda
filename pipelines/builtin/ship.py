"""Puts a trained model in the package as the builtin reference: its weights in fp16, with where they came from.

python -m clipsieve.pipelines.builtin.ship --model build/builtin/model
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import safetensors.torch
import torch

from clipsieve.schemas import files
from clipsieve.schemas.manifest import manifest_path
from clipsieve.schemas.models import CONFIG_NAME, WEIGHTS_NAME
from clipsieve.schemas.tokenizer import MERGES_NAME

FOLDER = Path(__file__).parent


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Install a model as the builtin reference")
    parser.add_argument("--model", required=True, type=Path, help="the folder that train wrote")
    model = parser.parse_args().model
    weights = safetensors.torch.load_file(model / WEIGHTS_NAME)
    halves = {name: tensor.half() if tensor.dtype == torch.float32 else tensor for name, tensor in weights.items()}
    files.write_bytes(str(FOLDER / WEIGHTS_NAME), safetensors.torch.save(halves))
    for name in (CONFIG_NAME, MERGES_NAME):
        shutil.copyfile(model / name, FOLDER / name)
    shutil.copyfile(manifest_path(str(model)), FOLDER / "manifest.json")
    print(f"{FOLDER / WEIGHTS_NAME}: {(FOLDER / WEIGHTS_NAME).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
