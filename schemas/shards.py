"""The shards of a folder: their names, and where the tar of each lies.

A shard's table and stats file stand in the folder. So does its tar, except where `clipsieve index` made the folder of
a pool that another tool wrote: there the tars stay where they are, and ``tars.json`` says where.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache

from pydantic import BaseModel, ConfigDict, ValidationError

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import read_manifest
from clipsieve.schemas.naming import MemberNaming

TARS_NAME = "tars.json"
STATS_SUFFIX = "_stats.json"
_TAR, _TABLE = ".tar", ".parquet"


class IndexedTars(BaseModel):
    """`tars.json` of an index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    naming: MemberNaming
    tars: dict[str, str]
    """By the shard's name, the path of its tar."""

    @cached_property
    def numbered(self) -> list[tuple[str, str]]:
        """The name and the tar of each shard, in order."""
        return list(self.tars.items())


def list_shards(folder: str) -> list[str]:
    """Names, without suffix, of the finished shards of ``folder``, in order.

    A shard is finished when its stats file is there, as img2dataset and `download` leave it. Raises InputError where
    there is none, for one whose tar is missing, and where there are fewer than the folder's manifest counts.
    """
    stats = _names(folder, STATS_SUFFIX)
    tars = set(tars_of(folder).tars) if is_index(folder) else _names(folder, _TAR)
    tables = _names(folder, _TABLE) if stats | tars else set()
    if lost := sorted((stats | tables) - tars):
        raise InputError(f"{folder}: the tar of {len(lost)} shards is missing, the first {lost[0]}{_TAR}; restore it")
    if not stats:
        raise InputError(f"{folder}: no finished shard (NNNNN.tar with its NNNNN_stats.json) in this folder")
    _expect_all(folder, len(stats))
    return sorted(stats)


def tar_of(folder: str, shard: str) -> str:
    """The path of the tar of a shard of ``folder``."""
    return tars_of(folder).tars[shard] if is_index(folder) else files.join(folder, f"{shard}{_TAR}")


def tar_paths(folder: str, shards: Iterable[str]) -> tuple[str, ...]:
    """`tar_of` of many shards. Raises InputError for one that an index does not name."""
    if not is_index(folder):
        return tuple(files.join(folder, f"{shard}{_TAR}") for shard in shards)
    tars = tars_of(folder).tars
    try:
        return tuple(tars[shard] for shard in shards)
    except KeyError as error:
        raise InputError(f"{files.join(folder, TARS_NAME)}: does not say where the tar of {error} is") from error


def table_of(folder: str, tar: str) -> str:
    """The path of the table of the shard of ``folder`` whose tar lies at the path ``tar``."""
    tars = tars_of(folder).tars if is_index(folder) else {}
    name = next((shard for shard, path in tars.items() if path == tar), files.name_of(tar).removesuffix(_TAR))
    return files.join(folder, f"{name}{_TABLE}")


def naming_of(folder: str) -> MemberNaming | None:
    """How the members of the tars are named; None where they are as in clipsieve's own shards."""
    return tars_of(folder).naming if is_index(folder) else None


def is_index(folder: str) -> bool:
    """Whether `clipsieve index` made the folder: its tars are another tool's, and never written to."""
    return files.exists(files.join(folder, TARS_NAME))


@lru_cache(8)
def tars_of(folder: str) -> IndexedTars:
    """What ``tars.json`` of an index says."""
    path = files.join(folder, TARS_NAME)
    try:
        return IndexedTars.model_validate_json(files.read_bytes(path))
    except ValidationError as error:
        raise InputError(f"{path}: not the list of an index ({error.errors()[0]['msg']}); index again") from error


def _expect_all(folder: str, shards: int) -> None:
    """A finished folder of clipsieve has as many shards as its manifest counts."""
    made = read_manifest(folder)
    counted = sum(made.shards_by_pass) if made is not None and made.complete else 0
    if counted and counted != shards:
        raise InputError(f"{folder}: holds {shards} finished shards, its manifest counts {counted}; restore the others")


def _names(folder: str, suffix: str) -> set[str]:
    return {files.name_of(path)[: -len(suffix)] for path in files.list_files(folder, suffix)}
