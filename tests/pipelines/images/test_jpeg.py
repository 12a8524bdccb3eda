from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipsieve.pipelines.images.jpeg import SOS, count_scans, read_jpeg_header, segments
from tests.pipelines.images.pictures import encoded, picture


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from(["L", "RGB", "CMYK"]),
    st.booleans(),
    st.binary(min_size=1, max_size=99),
)
@settings(max_examples=40, deadline=None)
def test_the_header_is_as_pillow_reads_it(width, height, mode, is_progressive, comment):
    exif = Image.Exif()
    exif[0x010E] = "a caption"
    options = {"progressive": is_progressive, "comment": comment, "exif": exif, "icc_profile": bytes(100_000)}
    if is_progressive:
        # Pillow's buffer for such a picture has a byte a pixel besides the profile: too few for a small one's tables
        # and comment, which it then writes after the buffer's end.
        width, height = max(width, 64), max(height, 64)
    body = encoded(Image.fromarray(picture(width, height)).convert(mode), "JPEG", **options)
    header = read_jpeg_header(body)
    stream = io.BytesIO(body)
    image = Image.open(stream)
    assert (header.width, header.height) == image.size
    assert header.channels == len(image.getbands())
    assert header.scan_start == stream.tell()
    assert b"Exif\0\0" + header.exif == image.info["exif"]
    assert header.is_of_one_scan == (not is_progressive)


def test_padding_and_junk_between_segments_are_passed_over():
    body = encoded(picture(30, 20), "JPEG")
    empty_comment = b"\xff\xfe\0\2"
    for junk in (b"\xff\xff\xff", b"junk", b"\xff\0\xff\0", b"junk\xff", empty_comment):
        header = read_jpeg_header(body[:2] + junk + body[2:])
        assert (header.width, header.height, header.exif) == (30, 20, b"")


def test_segments_tell_their_content():
    body = encoded(picture(30, 20), "JPEG", comment=b"a comment")
    found = {marker: body[start:end] for marker, start, end in segments(body)}
    assert found[0xE0].startswith(b"JFIF\0")
    assert found[0xFE] == b"a comment"
    assert list(found)[-1] == SOS


def test_segments_end_with_the_first_scan():
    markers = [marker for marker, _, _ in segments(encoded(picture(30, 20), "JPEG", progressive=True))]
    assert markers.count(SOS) == 1 and markers[-1] == SOS


def test_the_first_exif_block_counts_and_none_after_the_frame_is_missed():
    body = encoded(picture(30, 20), "JPEG")
    scan = body.index(b"\xff\xda")
    first, second, xmp, comment = (
        marker + (2 + len(content)).to_bytes(2, "big") + content
        for marker, content in (
            (b"\xff\xe1", b"Exif\0\0first"),
            (b"\xff\xe1", b"Exif\0\0second"),
            (b"\xff\xe1", b"http://ns.adobe.com/xap/1.0/\0"),
            (b"\xff\xfe", b"Exif\0\0comment"),
        )
    )
    assert read_jpeg_header(body[:2] + xmp + comment + first + second + body[2:]).exif == b"first"
    assert read_jpeg_header(body[:scan] + second + body[scan:]).exif == b"second"


def test_what_no_decoder_reads_is_an_error():
    body = encoded(picture(30, 20), "JPEG")
    frame = body.index(b"\xff\xc0")
    for damaged in (
        body[:frame],
        body[: frame + 4] + b"\x0c" + body[frame + 5 :],  # twelve bits
        body[:2] + b"\xff\xd9" + body[2:],
        *(body[:2] + marker + b"\0\2" + body[2:] for marker in (b"\xff\xd0", b"\xff\xd7", b"\xff\xd8", b"\xff\xd9")),
        body[: frame + 2] + b"\0\7" + body[frame + 4 : frame + 9] + body[body.index(b"\xff\xda") :],  # no channels
        body[:2] + b"\xff\xe0\0\1" + body[2:],
        b"\xff\xd8",
    ):
        with pytest.raises(ValueError, match="damaged JPEG"):
            read_jpeg_header(damaged)


def test_a_first_scan_without_all_channels_is_not_the_only_one():
    body = encoded(picture(30, 20), "JPEG")
    channels = next(start for marker, start, _ in segments(body) if marker == SOS)
    assert not read_jpeg_header(body[:channels] + b"\x01" + body[channels + 1 :]).is_of_one_scan


@given(st.lists(st.sampled_from(b"\0\xda\xff"), max_size=60), st.integers(0, 5))
def test_scans_are_counted_at_every_alignment(data, start):
    body = bytes(6) + bytes(data)
    assert count_scans(body, start + 1) == 1 + body[start:].count(b"\xff\xda")
