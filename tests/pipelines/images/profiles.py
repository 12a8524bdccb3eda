"""ICC profiles (ICC.1:2001-04) written by hand, and what their colours are in sRGB by the textbook's formulas."""

from __future__ import annotations

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
# Columns of red, green and blue in XYZ, adapted to D50 (Bruce Lindbloom's tables).
SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
ADOBE = np.array(
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]
)
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
PROPHOTO = np.array([[0.7976749, 0.1351917, 0.0313534], [0.2880402, 0.7118741, 0.0000857], [0.0, 0.0, 0.8252100]])


def srgb_curve(values: np.ndarray) -> np.ndarray:
    """Encoded sRGB -> light, both 0 to 1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def rgb_profile(columns: np.ndarray, gamma: float | None) -> bytes:
    """A display's profile: primaries in XYZ at D50, and one gamma, or sRGB's curve for None."""
    tags = {b"wtpt": _xyz(D50)}
    tags |= {name: _xyz(columns[:, place]) for place, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))
    return _profile(b"RGB ", tags)


def grey_profile(gamma: float | None) -> bytes:
    return _profile(b"GRAY", {b"wtpt": _xyz(D50), b"kTRC": _curve(gamma)})


def cmyk_profile() -> bytes:
    """A printer's profile whose Lab is linear in the inks (see `cmyk_in_srgb`), as a table with two points an ink."""
    inks = np.array(np.meshgrid(*[[0, 1]] * 4, indexing="ij")).reshape(4, -1).T
    lab = _lab_of_inks(inks)
    table = np.column_stack([lab[:, 0] * 652.8, (lab[:, 1] + 128) * 256, (lab[:, 2] + 128) * 256]).round()
    ends = struct.pack(">2H", 0, 65535)
    a2b0 = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + b"".join(map(_fixed, np.eye(3).ravel()))
    a2b0 += struct.pack(">2H", 2, 2) + ends * 4 + table.astype(">u2").tobytes() + ends * 3
    return _profile(b"CMYK", {b"wtpt": _xyz(D50), b"A2B0": a2b0}, b"prtr", b"Lab ")


def cmyk_in_srgb(inks: np.ndarray) -> np.ndarray:
    """What such a printer's uint8[..., 4], 255 for all of an ink, are in sRGB: float64[..., 3] from 0 to 255."""
    lightness, a, b = np.moveaxis(_lab_of_inks(inks / 255), -1, 0)
    y = (lightness + 16) / 116
    cubes = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(cubes > 6 / 29, cubes**3, 3 * (6 / 29) ** 2 * (cubes - 4 / 29)) * D50
    return _encoded(xyz @ np.linalg.inv(SRGB).T)


def _lab_of_inks(inks: np.ndarray) -> np.ndarray:
    return np.array([100, 0, 0]) + inks @ np.array([[-20, -20, -8], [-20, 24, -4], [-10, -2, 30], [-50, 0, 0]])


def in_srgb(pixels: np.ndarray, columns: np.ndarray, gamma: float | None) -> np.ndarray:
    """What uint8[..., 3] of such a display are in sRGB, cut to its gamut: float64[..., 3] from 0 to 255."""
    light = _light(pixels, gamma) @ (np.linalg.inv(SRGB) @ columns).T
    return _encoded(light)


def grey_in_srgb(pixels: np.ndarray, gamma: float | None) -> np.ndarray:
    return _encoded(_light(pixels, gamma))


def _light(pixels: np.ndarray, gamma: float | None) -> np.ndarray:
    values = pixels / 255
    return srgb_curve(values) if gamma is None else values**gamma


def _encoded(light: np.ndarray) -> np.ndarray:
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: tuple[float, ...] | np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    table = np.round(srgb_curve(np.linspace(0, 1, 1024)) * 65535).astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + table


def _profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", between: bytes = b"XYZ ") -> bytes:
    start = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content
    size = start + len(data)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, kind, space, between)
    header += bytes(12) + b"acsp" + bytes(28) + b"".join(map(_fixed, D50))
    return header.ljust(128, b"\0") + table + data
