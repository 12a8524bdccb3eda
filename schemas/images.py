"""The decoder of every stored image: those of shards, of evaluation tasks and of tables of pairs.

Stored bytes are hostile (law 7): a shard may be a stranger's. Pillow is told which formats it may try, for its other
plug-ins parse much that is no picture, and one of them starts Ghostscript. What a server sends is judged and decoded by
`clipsieve.pipelines.images` before it is stored.
"""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from clipsieve.schemas.errors import InputError, one_line
from clipsieve.schemas.samples import Sample

SHARD_FORMATS = ("JPEG", "PNG", "WEBP")
"""Pillow's names of the formats that a shard's images may have."""
TASK_FORMATS = (*SHARD_FORMATS, "BMP", "GIF", "TIFF")
"""Those that an evaluation task's images may have; of an animation, the first frame is read."""
MAX_PIXELS = 178_956_970
"""Pixels beyond which Pillow refuses an image; checked here too, for any library may lift Pillow's limit."""


def decode_image(
    data: bytes, where: str, formats: tuple[str, ...] = SHARD_FORMATS, least_side: int | None = None
) -> Image.Image:
    """The pixels of an encoded image, in the mode that it is stored in.

    With ``least_side``, a JPEG comes at a half, a quarter or an eighth of its size, decoded at that scale, where its
    shorter side still has so many pixels. ``where`` says where the image lies, for messages.
    Raises InputError where the image has another format than those of ``formats``, is larger than `MAX_PIXELS` by its
    header, is truncated or is damaged.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
        if least_side is not None:
            image.draft(None, (least_side, least_side))
        image.load()
    except UnidentifiedImageError as error:  # its text is the address of the stream
        raise _refusal(where, f"not a readable image of one of {', '.join(formats)}") from error
    except Exception as error:  # Pillow raises whatever its parsers trip over in hostile bytes
        raise _refusal(where, one_line(error)) from error
    return image


def decode_sample(sample: Sample, tar: str, least_side: int | None = None) -> Image.Image:
    """The image of a sample of the tar at path ``tar``, as RGB; transparency is left aside, not laid on a colour.

    ``least_side`` is that of `decode_image`.
    Raises InputError where the sample has no image, or one that `decode_image` refuses.
    """
    try:
        data = sample.image
    except InputError as error:
        raise InputError(f"{tar}: {error}") from error
    image = decode_image(data, f"{tar}: sample {sample.key}", least_side=least_side)
    return image if image.mode == "RGB" else image.convert("RGB")


def _refusal(where: str, reason: str) -> InputError:
    return InputError(f"{where}: the image cannot be decoded ({reason}); replace or remove it")
