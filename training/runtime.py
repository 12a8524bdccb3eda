"""The process that trains: its rank, device and threads; one process, or several under torchrun."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
import torch.utils.deterministic

from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.threads import cores

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


@dataclass(frozen=True)
class Runtime:
    """This process among those of a run."""

    rank: int
    world_size: int
    device: torch.device
    control: dist.ProcessGroup | None
    """Gloo group for a few bytes on the CPU, so that asking never waits for the device; None: one process."""

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        """Whether each flag is set in any process; every process calls it."""
        if self.control is None:
            return flags
        total = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(total, group=self.control)
        return tuple(total.bool().tolist())

    def gather(self, data: bytes) -> list[bytes]:
        """The ``data`` of each process, by rank; every process calls it."""
        if self.control is None:
            return [data]
        sizes = torch.zeros(self.world_size, dtype=torch.int64)
        sizes[self.rank] = len(data)
        dist.all_reduce(sizes, group=self.control)
        parts = torch.zeros(self.world_size, int(sizes.max()), dtype=torch.uint8)
        parts[self.rank, : len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else 0
        if parts.numel():
            dist.all_reduce(parts, group=self.control)
        return [part[:size].numpy().tobytes() for part, size in zip(parts, sizes.tolist(), strict=True)]

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` averaged over the processes, on the CPU; every process calls it."""
        values = values.cpu()
        if self.control is not None:
            dist.all_reduce(values, group=self.control)
        return values / self.world_size

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.any_of(False)


@contextmanager
def start_runtime(
    timeout: float, deterministic: Literal["auto", "always", "never"] = "auto", threads: int | None = None
) -> Iterator[Runtime]:
    """Join the processes that torchrun's environment names: NCCL between GPUs, gloo between CPUs.

    While it is open, torch computes as ``deterministic`` of TrainOptions says, in so many ``threads``; None: in one for
    each of this process's share of the cores. Raises ClipsieveError where another process is gone, or does not answer
    within ``timeout`` seconds.
    """
    _keep_freed_memory()
    world_size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = _device(int(os.environ.get("LOCAL_RANK", 0)))
    is_deterministic = deterministic == "always" or (deterministic == "auto" and device.type == "cpu")
    threads = threads or max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    with _threads(threads), _exactness(device, is_deterministic):
        if world_size == 1:
            yield Runtime(0, 1, device, None)
            return
        within = timedelta(seconds=timeout)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=within)
        try:
            control = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=within))
            yield Runtime(rank, world_size, device, control)
        except RuntimeError as error:
            if not _is_of_processes(error):
                raise
            raise ClipsieveError(
                f"process {rank} of {world_size}: another process is gone, or silent for {timeout:g} s; see what it "
                "said, and run the same command again: training resumes from its last checkpoint"
            ) from error
        finally:
            dist.destroy_process_group()


def _is_of_processes(error: RuntimeError) -> bool:
    """Whether a collective failed: gloo's failures are plain RuntimeErrors, known by where they were raised."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next step, instead of giving it back to the kernel.

    By default every large activation is mapped and unmapped anew, and its pages are zeroed again: on two virtual
    cores a RegNet step at batch 256 took 1.5 times as long so, and ten times as long while others were busy there.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _exactness(device: torch.device, is_deterministic: bool) -> Iterator[None]:
    """Deterministic algorithms in full fp32; or, on a GPU, the fastest ones, and fp32 products in TF32."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(is_deterministic)
    # An aid to find bugs: it writes every new tensor once more.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if is_deterministic:
        # cuBLAS sums in a fixed order only with this, which it reads when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    on_gpu: tuple[tuple[Any, str], ...] = (
        (torch.backends.cuda.matmul, "allow_tf32"),
        (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cudnn, "benchmark"),
    )
    switches = on_gpu if device.type == "cuda" else ()
    were = [getattr(backend, name) for backend, name in switches]
    for backend, name in switches:
        setattr(backend, name, not is_deterministic)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        for (backend, name), was in zip(switches, were, strict=True):
            setattr(backend, name, was)
