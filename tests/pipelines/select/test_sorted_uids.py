"""Sorted subset files against one sort in memory, with runs and blocks of a few uids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.select import sorted_uids
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.uid import to_u64_pairs

# Bytes that numpy's strings drop at their end, and halves that are alike.
uids = st.binary(min_size=16, max_size=16) | st.integers(0, 300).map(lambda n: n.to_bytes(16, "big"))
uids = uids | st.integers(0, 300).map(lambda n: n.to_bytes(8, "little") + bytes(8))


def as_array(members: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(members), np.uint8).reshape(-1, 16)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(uids, unique=True, max_size=120), st.integers(1, 7), st.integers(1, 9), st.integers(1, 40))
def test_any_blocks_become_numpys_sorted_npy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[bytes], pieces: int, block: int, run: int
) -> None:
    monkeypatch.setattr(sorted_uids, "BLOCK_UIDS", block)
    monkeypatch.setattr(sorted_uids, "RUN_UIDS", run)
    raw = as_array(members)
    path = sorted_uids.write_uids(np.array_split(raw, pieces), str(tmp_path / "a.npy"))
    expected = tmp_path / "b.npy"
    np.save(expected, np.sort(to_u64_pairs(raw)))
    assert Path(path).read_bytes() == expected.read_bytes()


def test_a_run_ends_with_the_block_that_fills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So memory holds one run."""
    monkeypatch.setattr(sorted_uids, "RUN_UIDS", 6)
    blocks = np.array_split(np.random.default_rng(0).integers(0, 256, (23, 16), np.uint8), [3, 6, 8, 18])
    assert [len(run) for run in sorted_uids._runs(blocks)] == [6, 12, 5]


@pytest.mark.parametrize("run", [2, 100])
def test_a_uid_that_stands_twice_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: int) -> None:
    """Be it in one run or in two, at the border of two merged blocks or within one."""
    monkeypatch.setattr(sorted_uids, "RUN_UIDS", run)
    monkeypatch.setattr(sorted_uids, "BLOCK_UIDS", 1)
    raw = np.random.default_rng(0).integers(0, 256, (9, 16), np.uint8)
    with pytest.raises(InputError, match=rf"a\.npy: uid {raw[3].tobytes().hex()} is duplicated in the scores"):
        sorted_uids.write_uids([raw[:4], raw[3:]], str(tmp_path / "a.npy"))
    assert not (tmp_path / "a.npy").exists()
