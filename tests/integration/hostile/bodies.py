"""Answers that are sound HTTP, and whose bodies decide how the row ends."""

from __future__ import annotations

import zipfile
from io import BytesIO

from clipsieve.schemas.outcomes import ErrorClass
from tests.integration.hostile import pictures
from tests.integration.hostile.page import End, Page, answer, head, page
from tests.integration.hostile.wire import IMAGE, ZEROS

DAMAGED, FOREIGN, HUGE = ErrorClass.DECODE_ERROR, ErrorClass.NOT_AN_IMAGE, ErrorClass.TOO_MANY_PIXELS

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:{forbidden}/"/></svg>'
SCRIPT = b"<script>fetch('http://127.0.0.1:{forbidden}/')</script>"


def _zip() -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.jpg", IMAGE)
    return stream.getvalue()


FOREIGN_BODIES = {
    "html": b"<!doctype html><title>Sign in</title>" + SCRIPT,
    "svg": SVG,
    "svg_in_xml": b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + SVG,
    "pdf": b"%PDF-1.7\n1 0 obj\n",
    "mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    "heic": b"\0\0\0\x20ftypheic\0\0\0\0heicmif1",
    "tiff": pictures.encoded("TIFF"),
    "ico": pictures.encoded("ICO"),
    "jpeg_2000": pictures.encoded("JPEG2000"),
    "portable_pixmap": pictures.encoded("PPM"),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "zip": _zip(),
    "json": b'{"error": "not found"}',
    "one_byte": b"\xff",
    "spaces": b" " * 5_000,
    "image_behind_a_newline": b"\n" + IMAGE,
}

SOUND_BODIES = {
    "sound": IMAGE,
    "png": pictures.encoded("PNG"),
    "webp": pictures.encoded("WEBP"),
    "gif": pictures.encoded("GIF"),
    "bmp": pictures.encoded("BMP"),
    "progressive": pictures.encoded(progressive=True),
    "grey": pictures.encoded(image=pictures.picture(mode="L")),
    "cmyk": pictures.encoded(image=pictures.picture(mode="CMYK")),
    "turned": pictures.turned(),
    "sixteen_bit": pictures.sixteen_bit(),
    "one_bit": pictures.encoded("PNG", pictures.picture(mode="1")),
    "grey_with_alpha": pictures.encoded("PNG", pictures.picture(mode="LA")),
    "alpha": pictures.encoded("WEBP", pictures.picture(mode="RGBA")),
    "see_through_palette": pictures.see_through_palette(),
    "animated_gif": pictures.animated("GIF"),
    "animated_webp": pictures.animated("WEBP"),
    "animated_png": pictures.animated("PNG"),
    "one_pixel": pictures.encoded("PNG", pictures.picture(size=(1, 1))),
    "one_line": pictures.encoded("PNG", pictures.picture(size=(5_000, 1))),
    "exif_loop": pictures.exif_loop(),
    "exif_of_many_values": pictures.exif_of_many_values(),
    "exif_of_noise": pictures.encoded(exif=b"Exif\0\0MM" + bytes(range(256))),
    "script_behind_gif": pictures.encoded("GIF") + SCRIPT,
    "script_in_jpeg": pictures.encoded(comment=SCRIPT),
    "zip_behind_jpeg": IMAGE + _zip(),
    "text_bomb": pictures.text_bomb(),
    "profile_bomb": pictures.profile_bomb(),
    "avif": pictures.encoded("AVIF"),
    "zeros_behind_png": pictures.encoded("PNG") + ZEROS,
}

DAMAGED_BODIES: dict[str, tuple[bytes, tuple[End, ...]]] = {
    **{f"truncated_{kind.lower()}": (pictures.truncated(kind), (DAMAGED,)) for kind in pictures.FORMATS},
    **{f"bomb_{name}": (bomb(), (HUGE,)) for name, bomb in pictures.BOMBS.items()},
    **{
        f"fuzzed_{kind.lower()}_{seed}": (pictures.fuzzed(kind, seed), (None, DAMAGED, HUGE, FOREIGN))
        for kind in pictures.FORMATS
        for seed in range(4)
    },
    "only_a_mark_of_jpeg": (b"\xff\xd8\xff", (DAMAGED,)),
    "only_a_mark_of_png": (b"\x89PNG\r\n\x1a\n", (DAMAGED,)),
    "only_a_mark_of_webp": (b"RIFF\xff\xff\xff\xffWEBP", (DAMAGED,)),
    "script_called_gif": (b"GIF89a/*" + SCRIPT, (DAMAGED,)),
    "many_scans": (pictures.many_scans(), (DAMAGED,)),
    "only_a_mark_of_avif": (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1", (DAMAGED,)),
}

BODIES: dict[str, Page] = {
    **{name: page(answer(body), None) for name, body in SOUND_BODIES.items()},
    **{f"{name}_called_jpeg": page(answer(body), FOREIGN) for name, body in FOREIGN_BODIES.items()},
    **{name: page(answer(body), *ends) for name, (body, ends) in DAMAGED_BODIES.items()},
    "image_called_html": page(answer(IMAGE, type="text/html"), None),
    "image_of_no_type": page(head() + IMAGE, None),
    "zero_bytes": page(answer(b""), ErrorClass.EMPTY_BODY),
    "two_megabytes": page(answer(bytes(2_000_000)), ErrorClass.TOO_LARGE),
}
