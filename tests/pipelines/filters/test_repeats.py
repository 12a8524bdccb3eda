"""What repeats, against counting by hand, however the pairs lie in files."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.pvalue import AsSingleton
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from clipsieve.pipelines.filters import repeats
from clipsieve.pipelines.filters.columns import PairColumns
from clipsieve.pipelines.filters.repeats import RepeatedCaption, RepeatedImage, find_repeated, pair_hashes
from clipsieve.schemas.errors import InputError
from tests.pipelines.filters.filter_pool import pair, write_pool

ROWS = 600


def _pool(tmp_path: Path, files: int) -> tuple[list[dict], list[str], PairColumns]:
    """Few captions, in two spellings, on few images, some of which are unknown."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(ROWS):
        caption, image = int(draw.zipf(1.6)) % 60, int(draw.zipf(1.5)) % 60
        spelled = f"Caption {caption}" if number % 2 else f" caption\n{caption} "
        sha256 = None if number % 50 == 0 else hashlib.sha256(str(image).encode()).hexdigest()
        rows.append(pair(number, caption=spelled, sha256=sha256))
    scores, shards = write_pool(tmp_path, rows, files)
    return rows, sorted(str(path) for path in Path(scores).glob("*.parquet")), PairColumns(shards)


def _rejected(judge: repeats.Repeated, paths: list[str], pool: PairColumns, out: Path) -> list[bool]:
    """What a survey and then the judge say, over all files."""
    found = out / "found"

    def judge_file(path: str, finding: np.ndarray) -> None:
        np.save(f"{found}-{Path(path).stem}.npy", judge.rejects(pool.read(path, judge.columns), finding))

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        files = pipeline | beam.Create(paths)
        files | "Judge" >> beam.Map(judge_file, AsSingleton(judge.survey(files, pool, str(out))))
    return np.concatenate([np.load(f"{found}-{Path(path).stem}.npy") for path in paths]).tolist()


@pytest.mark.parametrize("kind", [RepeatedCaption, RepeatedImage])
def test_it_counts_different_partners(tmp_path: Path, kind: type[repeats.Repeated]) -> None:
    rows, paths, pool = _pool(tmp_path, files=3)
    partners = defaultdict(set)
    for row in rows:
        sides = " ".join(row["caption"].casefold().split()), row["sha256"]
        if row["sha256"]:
            partners[sides[kind.subject]].add(sides[1 - kind.subject])
    expected = []
    for row in rows:
        sides = " ".join(row["caption"].casefold().split()), row["sha256"]
        expected.append(row["sha256"] is not None and len(partners[sides[kind.subject]]) > 4)
    assert 0 < sum(expected) < ROWS
    assert _rejected(kind(4), paths, pool, tmp_path) == expected


def test_crowded_bins_that_hold_nothing_repeated_are_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, paths, pool = _pool(tmp_path, files=2)
    whole = _rejected(RepeatedCaption(4), paths, pool, tmp_path)
    monkeypatch.setattr(repeats, "BIN_BITS", 1)  # every bin is crowded
    assert _rejected(RepeatedCaption(4), paths, pool, tmp_path) == whole
    assert len(rows) == len(whole)


def test_blocks_of_a_bucket_may_come_in_any_order() -> None:
    pairs = np.array([[7, 1], [7, 2], [9, 1], [7, 2], [9, 1], [7, 3]], ">u8")
    blocks = [pairs[:2].tobytes(), pairs[2:].tobytes()]
    for order in (blocks, blocks[::-1]):
        assert find_repeated(order, 2).tolist() == [7]
        assert find_repeated(order, 3).tolist() == []
    assert find_repeated([], 1).tolist() == []


def test_a_digest_that_is_none_is_refused(tmp_path: Path) -> None:
    scores, shards = write_pool(tmp_path, [pair(1, sha256="abc")], files=1)
    with pytest.raises(InputError, match="column 'sha256' holds a value that is not 64 hex digits"):
        pair_hashes(PairColumns(shards).read(f"{scores}/00000.parquet", RepeatedCaption.columns))
