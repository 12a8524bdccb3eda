"""A sample as a page shows it: a small picture, a caption of one line."""

from __future__ import annotations

import base64
import io

from PIL import Image

THUMBNAIL_PIXELS = 128
CAPTION_CHARS = 160

_WEBP_QUALITY = 60


def thumbnail(image: Image.Image) -> tuple[str, int, int]:
    """An image -> a WebP data URI of at most 128 pixels a side, its width and its height."""
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_WEBP_QUALITY, method=6)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/webp;base64,{encoded}", small.width, small.height


def shorten(caption: str) -> str:
    """The caption on one line, cut at 160 characters."""
    text = " ".join(caption.split())
    return text if len(text) <= CAPTION_CHARS else text[: CAPTION_CHARS - 1] + "…"
