"""What may change while a run is stopped: pairs may go, by a takedown or a longer opt-out list; none may come."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from clipsieve.schemas.manifest import Manifest, read_manifest
from clipsieve.schemas.opt_out import INPUT_NAME
from clipsieve.schemas.training_data import WeightedSubset, subset_digests

LostPairs = dict[str, list[str | None]]
"""Of inputs that have lost pairs, by name, the digests that they had; None: there was no such input."""


def lost_pairs(
    before: Mapping[str, str], now: Mapping[str, str], shards: str, subsets: Sequence[WeightedSubset]
) -> LostPairs:
    """Which inputs of a run have lost pairs, and nothing else, since their digests were ``before``.

    Of a longer opt-out list nothing but its digest is known; as a plan is never given back what it lost, any list does.
    """
    wanted = {**now, **subset_digests(subsets)}
    states = {"shards": _states(read_manifest(shards))} | {
        f"subset {subset.name}": _file_states(str(subset.path)) for subset in subsets
    }
    return {
        name: [before.get(name)]
        for name in sorted({*before, *wanted})
        if before.get(name) != wanted.get(name)
        and (before.get(name) in states.get(name, ()) or (name == INPUT_NAME and name in wanted))
    }


def _states(made: Manifest | None) -> set[str]:
    """The digests of a folder before each of its takedowns."""
    return {record.digests[0] for record in made.takedowns} if made else set()


def _file_states(path: str) -> set[str]:
    """The digests of a file of ours before the takedowns of its folder, among those of the folder's other files."""
    made = read_manifest(posixpath.dirname(path))
    return {digest for record in made.takedowns for digest in record.digests} if made else set()
