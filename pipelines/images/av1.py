"""How many pixels an AV1 bitstream makes its decoder work on (AV1 specification, 5.3, 5.5 and 5.9)."""

from __future__ import annotations

from collections.abc import Iterator

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_MAX_PARTS = 10_000


def decoded_pixels(stream: bytes) -> int:
    """The pixels of all frames of a stream, each as large as its sequence's header allows.

    Raises ValueError for what is no sequence of OBUs that say their sizes, but for the last.
    """
    pixels, of_frame = 0, 0
    for kind, content in _parts(stream):
        if kind == _SEQUENCE_HEADER:
            of_frame = _frame_pixels(content)
        elif kind in (_FRAME_HEADER, _FRAME):
            pixels += of_frame
    return pixels


def _parts(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, content) of each OBU; of contents the first 256 bytes, which hold any header."""
    at = 0
    for _ in range(_MAX_PARTS):
        if at >= len(stream):
            return
        kind, has_extension, has_size = stream[at] >> 3 & 15, stream[at] & 4, stream[at] & 2
        at += 2 if has_extension else 1
        size, at = _leb128(stream, at) if has_size else (len(stream) - at, at)
        yield kind, stream[at : at + min(size, 256)]
        at += size
    raise ValueError("AV1 of more parts than a picture has")


def _leb128(stream: bytes, at: int) -> tuple[int, int]:
    """A number of up to eight bytes at ``at``, and the place after it."""
    value = 0
    for place, byte in enumerate(stream[at : at + 8]):
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise ValueError("AV1 part without a size")


class _Bits:
    """Reads a number of bits after the other; those past the end raise ValueError."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("AV1 header that is cut off")
        return self._value >> self._left & ((1 << count) - 1)

    def take_uvlc(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
        return self.take(zeros) if zeros < 32 else 0


def _frame_pixels(header: bytes) -> int:
    """max_frame_width x max_frame_height of a sequence header."""
    bits = _Bits(header)
    bits.take(4)  # profile, still picture
    if bits.take(1):  # the reduced header of a still picture
        bits.take(5)
    else:
        _skip_timing_and_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return (bits.take(width_bits) + 1) * (bits.take(height_bits) + 1)


def _skip_timing_and_points(bits: _Bits) -> None:
    """Pass over what lies between the first flags of a full header and the size of its frames."""
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.take_uvlc()
        if bits.take(1):  # a decoder's model
            delay_bits = bits.take(5) + 1
            bits.take(42)
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)
