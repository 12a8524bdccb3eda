"""A plan of a billion samples: a process holds none of it for itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipsieve.training.data.plan_file import BOUNDS, HEADER_NAME, ROW, ROWS, PlanHeader, PlanInputs

SAMPLES, SHARDS = 1_000_000_000, 100_000
MOST_BYTES = 1 << 30
"""A permutation of a billion takes 8 GB, and so does a plan of 8 bytes a sample."""
READ = """
import re, sys
from pathlib import Path
from clipsieve.training.data.order import make_order
from clipsieve.training.data.plan_file import open_plan

def private():
    text = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * sum(map(int, re.findall(r"^Private_\\w+: +(\\d+) kB$", text, re.MULTILINE)))

plan = open_plan(sys.argv[1], "shards")
order = make_order(plan, (), 0, 16_384, window=256)
starts = (0, len(plan) - 8_000, 12 * len(plan) + 5)  # the second at an epoch's border
places = [len(plan.ranges(order.slice(start, start + 16_384))) for start in starts]
print(places == [16_384] * 3, order.unique(4 * len(plan)) == len(plan), private())
"""


def sparse(path: Path, dtype: np.dtype, length: int) -> None:
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + length * dtype.itemsize)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("order", ["global", "window"])
def test_a_billion_samples_are_mapped_not_held(tmp_path, order):
    header = PlanHeader(
        inputs=PlanInputs(shards="", order=order),
        naming=None,
        shards=tuple(f"{shard:06d}" for shard in range(SHARDS)),
        ends=(0,) * SHARDS,
        rows=SAMPLES,
        digest="",
    )
    (tmp_path / HEADER_NAME).write_text(header.model_dump_json())
    sparse(tmp_path / f"{ROWS}.npy", ROW, SAMPLES)
    np.save(tmp_path / f"{BOUNDS}.npy", np.arange(SHARDS + 1) * (SAMPLES // SHARDS))
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, timeout=300)
    said = re.fullmatch(r"True True (\d+)\n", done.stdout)
    assert said, done.stderr
    assert int(said[1]) < MOST_BYTES
