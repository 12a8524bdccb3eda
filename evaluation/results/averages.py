"""Averages over tasks that papers report, by name; one is given only where all of its tasks are there.

Averages of unlike sets go by like names: DataComp's over ImageNet's shifts has ImageNet-O, the paper's has ReaL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

AVERAGES: Mapping[str, tuple[str, ...]] = {
    "ImageNet variants (Scaling Down CLIP)": (
        "imagenet-a",
        "imagenet-r",
        "imagenet_sketch",
        "imagenetv2",
        "objectnet",
        "imagenet_real",
    ),
    "ImageNet dist. shifts (DataComp)": (
        "imagenet_sketch",
        "imagenetv2",
        "imagenet-a",
        "imagenet-o",
        "imagenet-r",
        "objectnet",
    ),
    "VTAB (DataComp)": (
        "vtab-caltech101",
        "vtab-cifar100",
        "vtab-clevr_count_all",
        "vtab-clevr_closest_object_distance",
        "vtab-dtd",
        "vtab-eurosat",
        "vtab-kitti_closest_vehicle_distance",
        "vtab-flowers",
        "vtab-pets",
        "vtab-pcam",
        "vtab-resisc45",
        "vtab-svhn",
        "sun397",
    ),
}


def averages(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mean of the main metrics of each average's tasks, as a fraction."""
    by_key = {row["key"]: row["metrics"]["main_metric"] for row in rows}
    return {
        name: sum(by_key[key] for key in keys) / len(keys)
        for name, keys in AVERAGES.items()
        if all(by_key.get(key) is not None for key in keys)
    }
