"""``python -m benchmarks.dedup_recall``: of planted copies how many dedup finds, and whether what it removes is alike.

Reads the lab data in $CLIPSIEVE_LAB_DATA: the half of openclipart on which no threshold was chosen, and the stamps.
Prints, by kind of copy, how many are found: not both of it and its original are kept. Then every removed pair of two
other sources is judged by `dedup_judge`, together with the planted copies, which say how often that measure errs; the
pairs that it finds least alike are put into a contact sheet.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import dedup_judge
from benchmarks.dedup_pool import Planted, pictures, with_copies, write_pool
from clipsieve.pipelines.dedup import job as dedup
from clipsieve.schemas import files, tables
from clipsieve.schemas.options import DedupOptions

SHOWN = 40
_BLANK = 2.0
"""Grey levels of standard deviation below which a picture is one colour, which only its bytes tell from another."""


@dataclass(frozen=True)
class Study:
    """What dedup made of a pool."""

    found: dict[str, tuple[int, int]]
    """By kind: copies found, and all copies that are not blank."""
    blank: tuple[int, int]
    """The same of blank ones, of all kinds."""
    removed: int
    others: list[tuple[str, str]]
    """uids of removed pairs and of those kept in their stead, of two other sources."""


def study(planted: Mapping[str, Planted], out: Path) -> Study:
    """Hold ``out``, dedup's folder, against what was planted, by uid."""
    paths = files.list_files(str(out), ".parquet")
    rows = [row for path in paths for row in tables.read_table(path, tables.DEDUP).to_pylist()]
    gone = {row["uid"]: row["duplicate_of"] for row in rows if row["duplicate_of"]}
    originals = {each.source: uid for uid, each in planted.items() if not each.kind}
    found: Counter[str] = Counter()
    every: Counter[str] = Counter()
    for uid, each in planted.items():
        if each.kind:
            kind = "blank" if _is_blank(each.image) else each.kind
            every[kind] += 1
            found[kind] += uid in gone or originals[each.source] in gone
    others = [(uid, kept) for uid, kept in gone.items() if planted[uid].source != planted[kept].source]
    blank = found.pop("blank", 0), every.pop("blank", 0)
    return Study({kind: (found[kind], every[kind]) for kind in sorted(every)}, blank, len(gone), others)


def judge(planted: Mapping[str, Planted], pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """`dedup_judge.differences` of each pair, float64[N, 2]."""
    pixels = {uid: dedup_judge.picture(planted[uid].image) for pair in pairs for uid in pair}
    return np.array([dedup_judge.differences(pixels[one], pixels[other]) for one, other in pairs]).reshape(-1, 2)


def contact_sheet(planted: Mapping[str, Planted], pairs: Sequence[tuple[str, str]], path: Path) -> None:
    """An image of the pairs, five in a row."""
    side, gap, columns = dedup_judge.SIDE, 8, 5
    sheet = np.zeros((-(-len(pairs) // columns) * (side + gap), columns * (2 * side + gap), 3), np.uint8)
    for number, pair in enumerate(pairs):
        y, x = number // columns * (side + gap), number % columns * (2 * side + gap)
        both = np.hstack([dedup_judge.picture(planted[uid].image) for uid in pair])
        sheet[y : y + side, x : x + 2 * side] = both
    Image.fromarray(sheet).save(path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dedup_recall", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the pool, dedup's tables and the contact sheet")
    parser.add_argument("--sources", type=int, default=2000, help="openclipart pictures; each gets a copy")
    chosen = parser.parse_args(argv)
    lab = Path(os.environ["CLIPSIEVE_LAB_DATA"])
    sources = chain(pictures(lab, "openclipart", chosen.sources, half=1), pictures(lab, "stamps", chosen.sources))
    planted = write_pool(list(with_copies(sources, seed=0)), chosen.out, seed=0)
    shards, scores, out = (str(chosen.out / name) for name in ("shards", "scores", "dedup"))
    dedup.run(shards, scores, out, DedupOptions())
    made = study(planted, chosen.out / "dedup")
    for kind, (found, every) in (made.found | {"blank, of any kind": made.blank}).items():
        print(f"{kind}: {found} of {every} found, {found / max(1, every):.2%}")
    differs = judge(planted, made.others)
    limits = dedup_judge.MOST_UNMATCHED, dedup_judge.MOST_RECOLOURED
    excess = (differs / limits).max(axis=1)
    print(f"removed {made.removed}, of which {len(made.others)} for another source's; false {(excess > 1).sum()}")
    folders = Counter(planted[made.others[pair][0]].source.rpartition("/")[0] for pair in np.flatnonzero(excess > 1))
    print(f"false, by the folder of the removed: {dict(folders.most_common())}")
    worst = np.argsort(-excess)[:SHOWN]
    contact_sheet(planted, [made.others[pair] for pair in worst], chosen.out / "least_alike.png")


def _is_blank(image: bytes) -> bool:
    return bool(dedup_judge.picture(image).std() < _BLANK)


if __name__ == "__main__":
    main()
