"""ENVI's scenes: a text header beside raw numbers, which are mapped and not read.

https://www.nv5geospatialsoftware.com/docs/enviheaderfiles.html
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from surform.data.scenes_cube import Cube

__all__ = ["envi_classes", "envi_header", "is_envi", "open_envi"]

_TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
_DATA = ("", ".img", ".dat", ".raw", ".bsq", ".bil", ".bip")
# where rows, columns and bands stand among the stored axes
_INTERLEAVES = {"bsq": (1, 2, 0), "bil": (0, 2, 1), "bip": (0, 1, 2)}
_NANOMETRES = {"nanometers": 1.0, "nanometres": 1.0, "nm": 1.0, "unknown": 1.0, "": 1.0}
_NANOMETRES |= {"micrometers": 1e3, "micrometres": 1e3, "um": 1e3, "microns": 1e3}


def is_envi(path: Path) -> bool:
    """Whether a path is an ENVI header, or has one beside it."""
    return path.suffix.lower() == ".hdr" or envi_header(path) is not None


def envi_header(path: Path) -> Path | None:
    """The header beside a file of raw numbers: scene.img.hdr or scene.hdr."""
    for name in (f"{path.name}.hdr", path.with_suffix(".hdr").name):
        header = _beside(path, name)
        if header is not None:
            return header
    return None


def open_envi(path: Path) -> Cube:
    """A scene by its header or its numbers.

    Raises:
        FileNotFoundError: the header is there, the numbers are not.
        ValueError: a header that lacks something or does not fit its numbers.
    """
    header, data = _files(path)
    fields = _fields(header)
    layout = str(fields.get("interleave", "bsq")).lower()
    if layout not in _INTERLEAVES:
        raise ValueError(f"{header}: interleave is {layout!r}, but must be bsq, bil or bip")
    number = _whole(header, fields, "data type")
    if number not in _TYPES:
        known = ", ".join(map(str, _TYPES))
        raise ValueError(f"{header}: data type {number} is none of the real numbers {known}")
    order = ">" if _whole(header, fields, "byte order", 0) else "<"
    dtype = np.dtype(_TYPES[number]).newbyteorder(order)
    sizes = tuple(_whole(header, fields, name) for name in ("lines", "samples", "bands"))
    places = _INTERLEAVES[layout]
    stored = tuple(sizes[places.index(axis)] for axis in range(3))
    offset = _whole(header, fields, "header offset", 0)
    need, there = offset + int(np.prod(sizes)) * dtype.itemsize, data.stat().st_size
    if there < need:
        raise ValueError(
            f"{data} is truncated: {header.name} tells of {need} bytes, it has {there}"
        )
    values = np.memmap(data, dtype, "r", offset, stored).transpose(places)
    return Cube(
        name=str(data),
        shape=(sizes[0], sizes[1], sizes[2]),
        block=lambda rows, columns: values[rows, columns],
        wavelengths=_wavelengths(header, fields),
        bad=_bad(header, fields, sizes[2]),
        no_data=_number(header, fields, "data ignore value"),
    )


def envi_classes(path: Path) -> tuple[str, ...]:
    """Names of the classes of a classified scene, the unlabelled one first; () where none."""
    names = _fields(_files(path)[0]).get("class names", ())
    return tuple(names) if isinstance(names, list) else ()


def _files(path: Path) -> tuple[Path, Path]:
    if path.suffix.lower() != ".hdr":
        header = envi_header(path)
        assert header is not None
        return header, path
    stem = path.with_suffix("")
    for ending in _DATA:
        data = _beside(path, stem.name + ending)
        if data is not None:
            return path, data
    endings = ", ".join(ending for ending in _DATA if ending)
    raise FileNotFoundError(
        f"{path} is a header, but its numbers are not beside it: {stem.name}, perhaps with one of "
        f"{endings}"
    )


def _beside(path: Path, name: str) -> Path | None:
    """Another file in the folder of `path`, in small or capital letters."""
    if not path.parent.is_dir():
        return None
    same = [each for each in path.parent.iterdir() if each.name.lower() == name.lower()]
    same = sorted((each for each in same if each.is_file() and each != path), reverse=True)
    return min(same, key=lambda each: each.name != name, default=None)


def _fields(header: Path) -> dict[str, str | list[str]]:
    """`name = value` by line; values in braces are lists and may go over several lines."""
    text = header.read_text(encoding="utf-8", errors="replace")
    if not text.lstrip().startswith("ENVI"):
        raise ValueError(f"{header} is no ENVI header: its first word is not ENVI")
    found: dict[str, str | list[str]] = {}
    for name, braced, plain in re.findall(
        r"^[ \t]*([^=\n;{}]+?)[ \t]*=[ \t]*(?:\{([^}]*)\}|([^\n{]*))", text, re.MULTILINE
    ):
        key = name.lower()
        found[key] = [part.strip() for part in braced.split(",")] if braced else plain.strip()
    return found


def _whole(header: Path, fields: dict[str, str | list[str]], name: str, default: int = -1) -> int:
    value = fields.get(name)
    if value is None and default >= 0:
        return default
    if not isinstance(value, str) or not re.fullmatch(r"\d+", value):
        raise ValueError(f"{header}: {name} is {value!r}, but must be a whole number")
    return int(value)


def _number(header: Path, fields: dict[str, str | list[str]], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    return _numbers(header, name, [value] if isinstance(value, str) else value)[0]


def _numbers(header: Path, name: str, values: list[str]) -> list[float]:
    try:
        return [float(value) for value in values]
    except ValueError as error:
        raise ValueError(
            f"{header}: {name} holds {values[0]!r} and more: numbers are due"
        ) from error


def _wavelengths(header: Path, fields: dict[str, str | list[str]]) -> tuple[float, ...]:
    values = fields.get("wavelength")
    if not isinstance(values, list):
        return ()
    unit = str(fields.get("wavelength units", "")).lower()
    factor = _NANOMETRES.get(unit)
    if factor is None:
        raise ValueError(f"{header}: wavelength units {unit!r} are neither nm nor micrometers")
    found = np.array(_numbers(header, "wavelength", values))
    if not unit and found.max() < 100:  # micrometers without a word of it
        factor = 1e3
    return tuple((factor * found).tolist())


def _bad(header: Path, fields: dict[str, str | list[str]], bands: int) -> tuple[int, ...]:
    values = fields.get("bbl")
    if not isinstance(values, list):
        return ()
    if len(values) != bands:
        raise ValueError(f"{header}: bbl lists {len(values)} bands, the scene has {bands}")
    return tuple(n for n, good in enumerate(_numbers(header, "bbl", values)) if not good)
