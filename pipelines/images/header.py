"""What a file says of its image before anything is decoded: format, size, and how much work it will make."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError, features

from clipsieve.pipelines.images import avif
from clipsieve.pipelines.images.errors import ImageError
from clipsieve.pipelines.images.icc import Model, transform_of
from clipsieve.pipelines.images.jpeg import JpegHeader, count_scans, read_jpeg_header, without_metadata
from clipsieve.pipelines.images.metered import MeteredReader
from clipsieve.pipelines.images.png import read_png
from clipsieve.schemas.options import ImageOptions
from clipsieve.schemas.outcomes import ErrorClass

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
"""Pillow's names of the formats that are read; of an animation, the first frame."""

MAX_SCANS = 100
SCANS_OF_LARGEST = 20
"""Scans of a JPEG, each of which makes the decoder walk over the whole image: in all, and of one of max_pixels.
Encoders write 10 or so; 100,000,000 pixels then take 3 s at most."""

AVIF_WORK = 4
"""Times max_pixels that an AVIF's pictures may have in all, as they are coded: one, its transparency and thumbnails."""

_MAX_READS = 300_000  # about a second of Pillow's parsers, on many small chunks or the runs of a BMP
_END_OF_JPEG = b"\xff\xd9"
_MODELS: dict[int, Model] = {1: "L", 4: "CMYK"}
_GREY_MODES = ("1", "L", "LA", "I;16")

# Pillow's own limit stays, for it guards what Pillow lays out on opening a GIF; but where it would only warn, at half
# of it, `read_header` has the recipe's max_pixels to judge by.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Header:
    """An image of which nothing has been decoded."""

    format: str
    width: int
    """Of the pixels as the file holds them, before any turning by EXIF orientation."""
    height: int
    source: JpegHeader | Image.Image
    """What else is known: of a JPEG its header; of the others, and of four inks with a profile, Pillow's image, opened
    and not loaded."""
    profile: bytes
    """The embedded ICC profile, as large and damaged as it may be; empty where there is none."""

    @property
    def model(self) -> Model:
        """The colour model of the pixels in the file, for which the profile must be; transparency aside."""
        if isinstance(self.source, JpegHeader):
            return _MODELS.get(self.source.channels, "RGB")
        if self.source.mode == "CMYK":
            return "CMYK"
        return "L" if self.source.mode in _GREY_MODES else "RGB"


def image_format(body: bytes) -> str | None:
    """The allowed format that the first bytes are of; None for any other content."""
    if body.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "WEBP"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if avif.is_avif(body):
        return "AVIF"
    return "BMP" if body.startswith(b"BM") else None


def read_header(body: bytes, options: ImageOptions) -> Header:
    """Read an image's header, and that alone. Raises ImageError for an image that is not wanted."""
    kind = image_format(body)
    if kind is None:
        raise ImageError(ErrorClass.NOT_AN_IMAGE, f"not one of {', '.join(FORMATS)}")
    if kind == "JPEG":
        jpeg = read_jpeg_header(body)
        _check_size(jpeg.width, jpeg.height, options)
        _check_scans(body, jpeg, options)
        is_of_inks = options.color == "srgb" and jpeg.channels == 4 and transform_of(jpeg.profile, "CMYK")
        source = _open_inks(body, jpeg) if is_of_inks else jpeg
        return Header(kind, jpeg.width, jpeg.height, source, jpeg.profile)
    if kind == "AVIF" and not features.check("avif"):
        raise ImageError(ErrorClass.NOT_AN_IMAGE, "AVIF, which the installed Pillow cannot read: it was built without")
    return _read_by_pillow(kind, body, options)


def _open_inks(body: bytes, jpeg: JpegHeader) -> Image.Image:
    """A JPEG of four inks by Pillow, which hands them over as they are; OpenCV makes RGB of them without a profile."""
    bare = without_metadata(body)
    picture = Image.open(MeteredReader(bare, _MAX_READS, 2 * len(bare) + _MAX_READS), formats=["JPEG"])
    picture.info["exif"] = jpeg.exif
    return picture


def _read_by_pillow(kind: str, body: bytes, options: ImageOptions) -> Header:
    profile = b""
    if kind == "PNG":
        parts = read_png(body)
        body, profile = parts.body, parts.profile
    if kind == "AVIF":
        body = avif.tamed(body)
    try:
        picture = Image.open(MeteredReader(body, _MAX_READS, 2 * len(body) + _MAX_READS), formats=[kind])
    except Image.DecompressionBombError:
        raise ImageError(ErrorClass.TOO_MANY_PIXELS, "over Pillow's limit of 178,956,970 pixels") from None
    except UnidentifiedImageError:
        raise ValueError(f"damaged {kind}: no header that can be read") from None
    _check_size(*picture.size, options)
    if kind == "AVIF" and avif.coded_pixels(body) > AVIF_WORK * options.max_pixels:
        raise ImageError(ErrorClass.TOO_MANY_PIXELS, f"AVIF coded in over {AVIF_WORK} x {options.max_pixels} pixels")
    return Header(kind, *picture.size, picture, profile or picture.info.get("icc_profile", b""))


def _check_size(width: int, height: int, options: ImageOptions) -> None:
    if not width or not height:
        raise ValueError(f"{width} x {height} pixels")
    if width * height > options.max_pixels:
        raise ImageError(ErrorClass.TOO_MANY_PIXELS, f"{width} x {height} pixels, over {options.max_pixels}")
    shorter, longer = sorted((width, height))
    if shorter < options.min_image_size:
        raise ImageError(ErrorClass.TOO_SMALL, f"{width} x {height}: a side under {options.min_image_size}")
    if options.max_aspect_ratio is not None and longer > options.max_aspect_ratio * shorter:
        raise ImageError(ErrorClass.ASPECT_RATIO, f"{width} x {height}: over {options.max_aspect_ratio} to 1")


def _check_scans(body: bytes, jpeg: JpegHeader, options: ImageOptions) -> None:
    """Older versions of OpenCV fill what a truncated JPEG lacks with grey; all decode any number of scans of one
    that is read scan by scan."""
    if body.rfind(_END_OF_JPEG) < jpeg.scan_start:
        raise ValueError("truncated JPEG: no end marker")
    scans = 1 if jpeg.is_of_one_scan else count_scans(body, jpeg.scan_start)
    if scans > MAX_SCANS or scans * jpeg.width * jpeg.height > SCANS_OF_LARGEST * options.max_pixels:
        raise ValueError(f"JPEG of {scans} scans of {jpeg.width} x {jpeg.height} pixels")
