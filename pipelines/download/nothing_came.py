"""A download of which no row has come: what to do about it, and its folder, which holds nothing to protect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from clipsieve.pipelines.shards.writer import read_stats
from clipsieve.schemas import files, manifest
from clipsieve.schemas.counts import DownloadCounts
from clipsieve.schemas.errors import BudgetError, InputError
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.options import DownloadOptions, ImageOptions
from clipsieve.schemas.outcomes import ErrorClass
from clipsieve.schemas.shards import STATS_SUFFIX
from clipsieve.schemas.threads import map_ahead

_RETRY = "run again with --retry-failed when that has passed"
_WAYS_OUT = {
    ErrorClass.INVALID_URL: "look at the column of URLs",
    ErrorClass.SCHEME_NOT_ALLOWED: "only http and https URLs are requested",
    ErrorClass.FORBIDDEN_ADDRESS: "a server of your own network is named by --allow-host HOST:PORT",
    ErrorClass.HOST_NOT_FOUND: "a name server that knows the hosts is named by --dns-server ADDRESS",
    ErrorClass.DNS_ERROR: f"--dns-server ADDRESS names another name server; {_RETRY}",
    ErrorClass.TIMEOUT: f"raise --connect-timeout, --read-timeout and --total-timeout; {_RETRY}",
    ErrorClass.CONNECTION_ERROR: _RETRY,
    ErrorClass.TOO_MANY_REDIRECTS: "raise --max-redirects",
    ErrorClass.TOO_LARGE: "raise --max-bytes",
    ErrorClass.OPTED_OUT: "the column consent of the shards' tables says by whom",
    ErrorClass.HASH_MISMATCH: "--no-verify-sha256 takes the images all the same",
    ErrorClass.TOO_MANY_PIXELS: "raise --max-pixels",
    ErrorClass.TOO_SMALL: "lower --min-image-size",
    ErrorClass.ASPECT_RATIO: "raise --max-aspect-ratio",
}
_SHARD_FILE = re.compile(r"[0-9]{5,}(_stats\.json|\.tar|\.parquet)")


def refuse_nothing(out: str, counts: DownloadCounts, ways_out: Mapping[ErrorClass, str] = MappingProxyType({})) -> None:
    """Raises BudgetError where every row failed; it names the commonest class of error and the way out of it.

    ``ways_out`` are those that differ from `download`'s.
    """
    if counts.success or not counts.distinct:
        return
    commonest = max(counts.errors, key=lambda error: counts.errors[error])
    way_out = {**_WAYS_OUT, **ways_out}.get(commonest, f"the column error_message of {out}/*.parquet says more")
    raise BudgetError(
        f"none of {counts.distinct:,} pairs came; {counts.errors[commonest]:,} failed with {commonest.value}: "
        f"{way_out}. Run again with other options to begin anew"
    )


def begin(out: str, options: DownloadOptions, inputs: dict[str, str]) -> Manifest:
    """Open the folder ``out`` as `manifest.begin` does; where no row of its first pass has come, under any options.

    Raises InputError for a folder that was begun with another recipe and has an image, or with another input.
    """
    try:
        return manifest.begin(out, options, inputs)
    except InputError:
        found = manifest.present_manifest(out)
        if found.inputs != inputs or not withdraw_bare(out, found, options):
            raise
    return manifest.begin(out, options, inputs)


def withdraw_bare(out: str, found: Manifest, options: ImageOptions) -> bool:
    """Empty a folder of the stage of ``options`` without an image, and return whether ``out`` is one."""
    if not isinstance(found.recipe, type(options)) or not _is_bare(out, found):
        return False
    manifest.withdraw(out, found, _shard_files(out))
    return True


def _is_bare(out: str, found: Manifest) -> bool:
    """Whether the folder is of one pass, and no shard of it that is finished has an image."""
    if found.earlier or found.takedowns or found.status == "takedown":
        return False
    return not any(stats.successes for stats in map_ahead(read_stats, files.list_files(out, STATS_SUFFIX)))


def _shard_files(out: str) -> list[str]:
    """What the shards of the folder consist of, the stats first: a shard without them is not done."""
    paths = [path for suffix in (STATS_SUFFIX, ".tar", ".parquet") for path in files.list_files(out, suffix)]
    return [path for path in paths if _SHARD_FILE.fullmatch(files.name_of(path))]
