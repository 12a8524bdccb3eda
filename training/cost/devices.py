"""The devices that a run is measured against: peak rates as their makers state them."""

from __future__ import annotations

import resource
import sys

import torch

PEAK_FLOPS = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "B200": 2250e12, "L4": 121e12, "L40S": 362e12}
"""Dense bf16 FLOP/s by a word of the device's name (SXM where there are several)."""


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def peak_flops(device: torch.device) -> float | None:
    """Dense bf16 FLOP/s of one device; None where its maker states none, or it is not listed."""
    words = device_name(device).replace("-", " ").split()
    return next((PEAK_FLOPS[word] for word in words if word in PEAK_FLOPS), None)


def resident_bytes() -> int:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_bytes(device: torch.device) -> int | None:
    """The most GPU memory that this process has held; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
