"""ReaL: the ImageNet validation images with every label that is right.

The labels are those of Beyer et al. 2020, "Are we done with ImageNet?", section 3; timm ships them, in the order of the
validation files' names, not of any folder.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files as package_files

from clipsieve.schemas.errors import InputError

IMAGES = 50_000
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})")


def real_labels(ids: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """The right classes of each validation image, by the number in its name ``ILSVRC2012_val_NNNNNNNN``.

    Raters found none right on 3,163 of the 50,000: these have ().

    Raises InputError for an id that has no such number.
    """
    every = json.loads((package_files("timm.data") / "_info" / "imagenet_real_labels.json").read_text("utf-8"))
    labels = []
    for id_ in ids:
        match = _NAME.search(id_)
        if match is None or not 1 <= int(match[1]) <= IMAGES:
            raise InputError(
                f"sample {id_}: not named as an ImageNet validation file (ILSVRC2012_val_00000001), by which ReaL's "
                "labels are ordered; next to tar files, give the names in filenames.txt, a line a sample"
            )
        labels.append(tuple(every[int(match[1]) - 1]))
    return tuple(labels)
