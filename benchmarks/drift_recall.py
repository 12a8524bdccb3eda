"""``python -m benchmarks.drift_recall``: of planted images how many drift finds, and how many it accuses falsely.

Reads the lab data in $CLIPSIEVE_LAB_DATA: the half of openclipart on which no threshold was chosen, scored
by the builtin reference. Prints a table: a row for each
kind that was planted, a column for what was published, the share that drift calls swapped, placeholder or expired.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.drift_pool import KINDS, REENCODED, Planted, plant, verdicts, write_pool
from clipsieve.pipelines.drift import job as drift
from clipsieve.schemas.drift import GONE
from clipsieve.schemas.options import DriftOptions

PUBLISHED = {
    "all": (),
    "no sha256": ("sha256=none",),
    "no embedding": ("embedding=none",),
    "size": ("embedding=none", "similarity=none"),
    "similarity": ("embedding=none", "width=none", "height=none"),
    "embedding": ("embedding=l14_img", "similarity=none", "width=none", "height=none"),
}
"""What was published, by what is left out."""


def study(planted: Sequence[Planted], folder: Path, left_out: Sequence[str], name: str) -> dict[str, tuple[int, int]]:
    """Of each kind how many drift accuses, and all: (accused, planted); "re-encoded" are those of `REENCODED`."""
    out, came = folder / "drift" / name, folder / "came"
    options = DriftOptions(columns=tuple(left_out))
    drift.run(str(came / "shards"), str(folder / "metadata"), str(out), options, str(came / "scores"))
    found, gone = verdicts(out), {verdict.value for verdict in GONE}
    of_kind = {kind: [found[each.uid] in gone for each in planted if each.kind == kind] for kind in KINDS}
    of_kind["re-encoded"] = [accused for kind in REENCODED for accused in of_kind[kind]]
    return {kind: (sum(accused), len(accused)) for kind, accused in of_kind.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift_recall", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the pool and drift's tables")
    parser.add_argument("--pictures", type=int, default=4000, help="openclipart pictures")
    parser.add_argument("--each", type=int, default=1000, help="of them swapped, placeholders, and re-encoded, each")
    chosen = parser.parse_args(argv)
    planted = plant(Path(os.environ["CLIPSIEVE_LAB_DATA"]), chosen.pictures, chosen.each, seed=0)
    write_pool(planted, chosen.out)
    found = {name: study(planted, chosen.out, left_out, name) for name, left_out in PUBLISHED.items()}
    table = Table("planted", "of", *PUBLISHED, title="called swapped, placeholder or expired, by what was published")
    for kind, (_, every) in found["all"].items():
        table.add_row(kind, str(every), *(f"{cell[kind][0] / max(1, every):.2%}" for cell in found.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
