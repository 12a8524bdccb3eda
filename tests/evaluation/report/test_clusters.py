"""The report's section of what dedup removed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.evaluation.report.clusters import SHOWN, read_clusters
from clipsieve.evaluation.report.page import run
from clipsieve.schemas import manifest, tables
from clipsieve.schemas.counts import DedupCounts
from clipsieve.schemas.options import DedupOptions

COUNTS = DedupCounts(pairs=56, kept=40, found={"exact": 9, "thumbnail": 7}, contaminated=2)


@pytest.fixture
def deduplicated(run_dir) -> Path:
    """Row 0 has the next eight as its repeats, row 20 has three, rows 30 and 40 two each; 50 and 51 are of a task."""
    folder = run_dir / "dedup"
    begun = manifest.begin(str(folder), DedupOptions(methods=("exact",)), {"scores": "ab" * 32})
    scored = [pq.read_table(run_dir / f"scores/{name}.parquet") for name in ("00000", "00001")]
    uids = [uid for rows in scored for uid in rows["uid"].to_pylist()]
    repeats = dict.fromkeys(range(1, 9), 0) | dict.fromkeys((21, 22, 23), 20) | {31: 30, 32: 30, 41: 40}
    for start, rows in zip((0, len(scored[0])), scored, strict=True):
        own = range(start, start + len(rows))
        kept = [uids[repeats[row]] if row in repeats else "shapes:s1" if row in (50, 51) else None for row in own]
        columns = {
            "uid": rows["uid"],
            "duplicate_of": pa.array(kept, pa.string()),
            "method": pa.array([None if each is None else "thumbnail" for each in kept], pa.string()),
        }
        name = "00000" if start == 0 else "00001"
        tables.write_table(pa.table(columns), tables.DEDUP, str(folder / f"{name}.parquet"))
    manifest.finish(str(folder), begun, COUNTS, "cd" * 32)
    return run_dir


def test_the_largest_clusters_come_first_with_their_best_repeats(deduplicated) -> None:
    made = manifest.read_manifest(str(deduplicated / "dedup"))
    assert made is not None
    found = read_clusters(str(deduplicated), made)
    assert [cluster.count for cluster in (*found.largest, *found.drawn)] == [8, 3, 2, 1]
    for cluster in found.largest:
        shown = [repeat.pair.similarity for repeat in cluster.shown]
        assert len(shown) == min(SHOWN, cluster.count) and shown == sorted(shown, reverse=True)


def test_a_run_with_repeats_has_the_section(deduplicated) -> None:
    page = " ".join(Path(run(str(deduplicated))).read_text("utf-8").split())
    assert 'href="#dedup"' in page and "Of 56 scored pairs 40 are kept." in page
    assert '8 repeats <span class="soft">the best scored 5 of them</span>' in page and "1 repeat</h4>" in page
    section = page[page.index('<section id="dedup"') :]
    section = section[: section.index("</section>")]
    assert section.count("<img ") == 4 + SHOWN + 3 + 2 + 1
    assert section.count('<span class="soft">kept</span>') == 4
    assert "2 pairs repeat an image of an evaluation task" in section
    assert "<script>" not in section and "onerror=&#34;" in section


def test_a_kept_pair_that_was_taken_down_has_no_cluster(deduplicated) -> None:
    for folder in ("dedup", "selection"):
        path = deduplicated / folder / "00000.parquet"
        rows = pq.read_table(path)
        pq.write_table(rows.slice(1), path)
    page = Path(run(str(deduplicated))).read_text("utf-8")
    assert "8 repeats" not in page and "3 repeats" in page


def test_a_run_without_dedup_has_no_section(run_dir) -> None:
    assert 'id="dedup"' not in Path(run(str(run_dir))).read_text("utf-8")
