"""Writing samples of another tool's tars as clipsieve's own: its names of members, the contents byte for byte."""

from __future__ import annotations

import numpy as np

from clipsieve.pipelines.reshard.copies import Ranges
from clipsieve.pipelines.shards.tars import TarWriter
from clipsieve.schemas import files
from clipsieve.schemas.naming import MemberNaming
from clipsieve.schemas.samples import stream_samples


def repack_samples(ranges: Ranges, naming: MemberNaming, tar: str) -> tuple[str, np.ndarray, np.ndarray]:
    """Write the samples as the tar at path ``tar``; returns its hex XXH3, and each one's offset and size, int64[N].

    Raises InputError where a range is not that of one sample.
    """
    places = np.zeros((len(ranges.keys), 2), np.int64)
    with files.atomic_write(tar) as stream:
        writer = TarWriter(stream)
        for row, sample in enumerate(stream_samples(ranges.places, naming)):
            # webdataset's writer, which is img2dataset's, sorts members by name.
            places[row] = writer.write(ranges.new_keys[row], dict(sorted(sample.members.items())))
        digest = writer.close()
    return digest, places[:, 0], places[:, 1]
