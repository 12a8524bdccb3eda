"""The folders of a run that hold its pairs, and where a pair stands in their files."""

from __future__ import annotations

from clipsieve.schemas import files
from clipsieve.schemas.manifest import Manifest, read_manifest

SHARD_STAGES = ("download", "reshard")
"""The stages whose folders hold shards."""
MODEL_STAGES = ("train", "evaluate")
"""The stages whose folders hold no pairs."""

_FLOW = {"download": 0, "score": 1, "select": 3, "reshard": 4, "train": 5, "evaluate": 6}
_BETWEEN = 2  # what judges scored pairs, as filters and dedup, and select reads


def run_folders(run_dir: str) -> dict[str, Manifest]:
    """The manifests of a run's folders, one or two levels down, by their names under ``run_dir``, as data flows."""
    found: dict[str, Manifest] = {}
    for folder in files.list_folders(run_dir):
        for path in (folder, *files.list_folders(folder)):
            made = read_manifest(path)
            if made is not None:
                found[path.removeprefix(run_dir).strip("/")] = made
    return dict(sorted(found.items(), key=lambda item: _FLOW.get(item[1].stage, _BETWEEN)))
