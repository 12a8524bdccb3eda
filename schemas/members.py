"""The members of a subset file, whoever wrote it: DataComp's npy, a Parquet with uid, or a list of uids."""

from __future__ import annotations

import io
import re

import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.uid import UID_PATTERN, UID_U64_PAIR, from_u64_pairs, uid_bytes, uid_strings

_WEIGHT = "weight"
_NPY_MAGIC = b"\x93NUMPY"
_ONLY_UIDS = re.compile(rb"(?:[0-9a-f]{32}\n)*")


def read_members(path: str) -> np.ndarray:
    """`read_subset` for those to whom a member is a member: a uid that is duplicated is an InputError."""
    members = read_subset(path)
    repeated = members[1:] == members[:-1]
    if repeated.any():
        uid = uid_strings(as_raw(members[int(np.argmax(repeated)) :][:1]))[0]
        raise InputError(f"{path}: uid {uid} stands in it twice; a subset holds a pair once")
    return members


def read_subset(path: str) -> np.ndarray:
    """The members' uids as bytes[N] of 16, ascending, each as often as it stands in the file.

    A ``.parquet`` has a column ``uid``, and may say in a column ``weight`` how often each stands; a ``.txt`` has a uid
    a line; both are in any order. Any other file holds (upper64, lower64) pairs, with numpy's header or, as DataComp's
    memory maps, without, and must be sorted: DataComp's resharder bisects it, and would lose what is out of order.
    Raises InputError when the file is of another kind, or is not sorted, with the number of uids out of order.
    """
    if path.endswith((".parquet", ".txt")):
        return np.sort(_read_parquet(path) if path.endswith(".parquet") else as_strings(_read_list(path)))
    members = as_strings(_read_npy(path))
    out_of_order = int(np.count_nonzero(members[1:] < members[:-1]))
    if out_of_order:
        raise InputError(
            f"{path}: not sorted: {out_of_order} of its {len(members)} uids are less than the one before; "
            "write it again after numpy.sort"
        )
    return members


def write_members(members: np.ndarray, path: str) -> str:
    """Write bytes[N] of 16 for `load_members`; returns ``path``."""
    with files.atomic_write(path) as stream:
        np.save(stream, members)
    return path


def load_members(path: str) -> np.ndarray:
    """What `write_members` wrote: of a local file mapped into memory, not read."""
    fs, inner = files.filesystem(path)
    if isinstance(fs, LocalFileSystem):
        return np.load(inner, mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False)


def as_strings(raw: np.ndarray) -> np.ndarray:
    """uint8[N, W] -> bytes[N] of W, which numpy compares from left to right."""
    return np.ascontiguousarray(raw).view(f"S{raw.shape[1]}").reshape(-1)


def as_raw(strings: np.ndarray) -> np.ndarray:
    """bytes[N] of W -> uint8[N, W]; the inverse of `as_strings`."""
    return np.ascontiguousarray(strings).view(np.uint8).reshape(len(strings), strings.itemsize)


def find(members: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """bool[N]: which of the uids uint8[N, 16] are among ``members``, which are in ascending order."""
    if not len(members):
        return np.zeros(len(raw), bool)
    uids = as_strings(raw)
    places = np.minimum(np.searchsorted(members, uids), len(members) - 1)
    return members[places] == uids


def count(members: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """int64[N]: how often each of the uids uint8[N, 16] stands among ``members``, which are in ascending order."""
    uids = as_strings(raw)
    return np.searchsorted(members, uids, "right") - np.searchsorted(members, uids, "left")


class WeightedMembers:
    """The distinct members of a subset file, ascending, how often each stands there, and which were met."""

    def __init__(self, path: str) -> None:
        """Read the file; raises InputError as `read_subset`."""
        uids = read_subset(path)
        is_first = np.append(True, uids[1:] != uids[:-1]) if len(uids) else np.zeros(0, bool)
        self.path = path
        self.uids = uids[is_first]
        self.weights = np.diff(np.append(np.flatnonzero(is_first), len(uids)))
        """int64[N]"""
        self.is_met = np.zeros(len(self.uids), bool)
        self._upper = upper_half(self.uids)

    def find(self, raw: np.ndarray) -> np.ndarray:
        """int64[N]: the index of each of the uids uint8[N, 16] among the members, −1 of those that are none; the
        members among them are met.

        The uids are looked up in ascending order, so that each search stays near the one before: 20M members do not
        fit into a processor's cache. Their first 8 bytes are compared, the others where these are equal.
        """
        uids = as_strings(raw)
        order = np.argsort(upper_half(uids))
        places = np.empty(len(raw), np.int64)
        places[order] = self.find_ascending(uids[order])
        return places

    def find_ascending(self, ordered: np.ndarray) -> np.ndarray:
        """`find` of uids, bytes[N] of 16, whose first 8 bytes are in ascending order."""
        if not len(self.uids):
            return np.full(len(ordered), -1)
        upper = upper_half(ordered)
        found = np.minimum(np.searchsorted(self._upper, upper), len(self.uids) - 1)
        is_shared = (self.uids[found] != ordered) & (self._upper[found] == upper)
        found[is_shared] = np.minimum(np.searchsorted(self.uids, ordered[is_shared]), len(self.uids) - 1)
        is_member = self.uids[found] == ordered
        self.is_met[found[is_member]] = True
        return np.where(is_member, found, -1)

    @property
    def missing(self) -> int:
        """How many members were not met."""
        return int(np.count_nonzero(~self.is_met))

    def refuse_missing(self, where: str, hint: str) -> None:
        """Raise InputError where members were not met in what ``where`` names."""
        if self.missing:
            first = uid_strings(as_raw(self.uids[~self.is_met][:1]))[0]
            raise InputError(f"{self.path}: {self.missing} uids are of no {where}, the first {first}; {hint}")


def upper_half(uids: np.ndarray) -> np.ndarray:
    """bytes[N] of 16 -> uint64[N]: the first 8 of each, which order as they do."""
    return np.ascontiguousarray(uids).view(">u8").reshape(-1, 2)[:, 0].astype(np.uint64)


def _read_list(path: str) -> np.ndarray:
    data = files.read_bytes(path)
    if not _ONLY_UIDS.fullmatch(data):
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if line and not UID_PATTERN.fullmatch(line):
                raise InputError(f"{path}: line {number}: {line[:80]!r} is not a uid (32 hex digits, in lower case)")
    return np.frombuffer(bytes.fromhex(data.decode()), np.uint8).reshape(-1, 16)


def _read_npy(path: str) -> np.ndarray:
    data = files.read_bytes(path)
    if data.startswith(_NPY_MAGIC):
        try:
            pairs = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise InputError(f"{path}: not a readable npy file ({error})") from error
        if pairs.ndim != 1 or [pairs.dtype[i] for i in range(len(pairs.dtype))] != [np.dtype("u8")] * 2:
            raise InputError(f"{path}: not a subset: it holds {pairs.dtype} of shape {pairs.shape}, not u8,u8 pairs")
        return from_u64_pairs(pairs.astype(UID_U64_PAIR))
    if len(data) % UID_U64_PAIR.itemsize:
        raise InputError(f"{path}: not a subset: neither Parquet nor npy, nor a multiple of 16 bytes long")
    return from_u64_pairs(np.frombuffer(data, UID_U64_PAIR))


def _read_parquet(path: str) -> np.ndarray:
    with tables.open_parquet(path) as parquet:
        columns = ["uid", *([_WEIGHT] if _WEIGHT in parquet.schema_arrow.names else [])]
    parts = [np.zeros(0, "S16")]
    for batch in tables.iter_batches(path, tables.SUBSET, columns):
        try:
            uids = as_strings(uid_bytes(batch["uid"]))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: column 'uid' holds a value that is not 32 hex digits ({error})") from error
        parts.append(np.repeat(uids, _weights(batch[_WEIGHT], path)) if _WEIGHT in columns else uids)
    return np.concatenate(parts)


def _weights(column: pa.Array, path: str) -> np.ndarray:
    try:
        weights = column.cast(pa.float64())
        if weights.null_count or not ((values := weights.to_numpy()) == np.floor(values)).all() or (values < 0).any():
            raise ValueError("one is null, less than 0 or no whole number")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: column {_WEIGHT!r} does not say how often each pair stands ({reason})") from error
    return values.astype(np.int64)
