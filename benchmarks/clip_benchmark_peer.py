"""Run by CLIP_benchmark's own interpreter: its metrics and embeddings on one task folder, through its own functions.

    PEER_PYTHON benchmarks/clip_benchmark_peer.py MODEL PRETRAINED MERGES FOLDER OUT SPLIT

MERGES is a tokenizer's bpe file, next to the configuration of its model, or "" for the model's own: its command line
knows no other. OUT gets ``metrics.json`` and ``images.npy``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from clip_benchmark.datasets.builder import build_dataset
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval
from clip_benchmark.models import load_clip
from open_clip.tokenizer import SimpleTokenizer

BATCH_SIZE = 128


def main(name: str, pretrained: str, merges: str, folder: str, out: str, split: str) -> None:
    """As ``clip_benchmark eval --no_amp --recall_k 1 5 10`` on a WebDataset folder, without worker processes."""
    model, transform, tokenizer = load_clip("open_clip", name, pretrained, None, "cpu")
    model.eval()
    if merges:
        config = json.loads(Path(merges).with_name("open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
        kwargs = config.get("tokenizer_kwargs", {})
        tokenizer = SimpleTokenizer(bpe_path=merges, context_length=model.context_length, **kwargs)
    task = "zeroshot_retrieval" if (Path(folder) / "dataset_type.txt").exists() else "zeroshot_classification"
    dataset = build_dataset("wds/any", root=folder, transform=transform, split=split, download=False, task=task)
    loader = torch.utils.data.DataLoader(dataset.batched(BATCH_SIZE), batch_size=None, num_workers=0)
    embedded: list[np.ndarray] = []
    encode = model.encode_image

    def encode_and_keep(images: torch.Tensor) -> torch.Tensor:
        features = encode(images)
        embedded.append(torch.nn.functional.normalize(features, dim=-1).numpy())
        return features

    model.encode_image = encode_and_keep
    if task == "zeroshot_retrieval":
        metrics = zeroshot_retrieval.evaluate(model, loader, tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10])
    else:
        metrics = zeroshot_classification.evaluate(
            model, loader, tokenizer, dataset.classes, dataset.templates, "cpu", amp=False
        )
    (Path(out) / "metrics.json").write_text(json.dumps(metrics))
    np.save(Path(out) / "images.npy", np.concatenate(embedded))


if __name__ == "__main__":
    main(*sys.argv[1:])
