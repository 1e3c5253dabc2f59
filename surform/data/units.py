"""Units as people write them in attributes: "m s-1", "m/s", "kg m^-3", "1".

A unit that cannot be read equals itself and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from math import isclose

__all__ = ["conversion_factor", "same_unit"]

# symbol -> (factor to SI, exponents of base quantities)
_UNITS: dict[str, tuple[float, dict[str, int]]] = {
    "m": (1.0, {"m": 1}),
    "g": (1e-3, {"kg": 1}),
    "s": (1.0, {"s": 1}),
    "K": (1.0, {"K": 1}),
    "A": (1.0, {"A": 1}),
    "mol": (1.0, {"mol": 1}),
    "cd": (1.0, {"cd": 1}),
    "Hz": (1.0, {"s": -1}),
    "N": (1.0, {"kg": 1, "m": 1, "s": -2}),
    "Pa": (1.0, {"kg": 1, "m": -1, "s": -2}),
    "J": (1.0, {"kg": 1, "m": 2, "s": -2}),
    "W": (1.0, {"kg": 1, "m": 2, "s": -3}),
    "C": (1.0, {"A": 1, "s": 1}),
    "V": (1.0, {"kg": 1, "m": 2, "s": -3, "A": -1}),
    "T": (1.0, {"kg": 1, "s": -2, "A": -1}),
    "eV": (1.602176634e-19, {"kg": 1, "m": 2, "s": -2}),
    "bar": (1e5, {"kg": 1, "m": -1, "s": -2}),
    "atm": (101325.0, {"kg": 1, "m": -1, "s": -2}),
    "l": (1e-3, {"m": 3}),
    "L": (1e-3, {"m": 3}),
    "angstrom": (1e-10, {"m": 1}),
    "Å": (1e-10, {"m": 1}),
    "min": (60.0, {"s": 1}),
    "h": (3600.0, {"s": 1}),
    "d": (86400.0, {"s": 1}),
    "year": (31557600.0, {"s": 1}),
    "degC": (1.0, {"°C": 1}),  # an offset scale is no multiple of K
    "rad": (1.0, {}),
    "degree": (0.017453292519943295, {}),
    "%": (0.01, {}),
    "ppm": (1e-6, {}),
    "1": (1.0, {}),
}
_LONG = {
    "meter": "m", "metre": "m", "gram": "g", "second": "s", "sec": "s", "kelvin": "K",
    "ampere": "A", "mole": "mol", "hertz": "Hz", "newton": "N", "pascal": "Pa", "joule": "J",
    "watt": "W", "coulomb": "C", "volt": "V", "tesla": "T", "liter": "l", "litre": "l",
    "minute": "min", "hour": "h", "hr": "h", "day": "d", "yr": "year", "celsius": "degC",
    "°C": "degC", "degree_Celsius": "degC", "degree_C": "degC", "degrees_C": "degC",
    "radian": "rad", "deg": "degree",
    "degrees_north": "degree", "degrees_east": "degree", "degree_north": "degree",
    "degree_east": "degree", "°": "degree", "percent": "%", "dimensionless": "1", "none": "1",
}  # fmt: skip
_PREFIXES = {
    "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "c": 1e-2,
    "d": 1e-1, "h": 1e2, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "kilo": 1e3, "milli": 1e-3,
    "micro": 1e-6, "centi": 1e-2,
}  # fmt: skip
_UNPREFIXED = {"1", "%", "ppm", "min", "h", "d", "year", "degC", "degree", "angstrom", "Å"}
_NUMBER = re.compile(r"\d+(\.\d+)?([eE][+-]?\d+)?")
_FACTOR = re.compile(r"(?P<symbol>1|[^\d\s^*+-]+)(?:(?:\^|\*\*)?(?P<power>[+-]?\d+(?:/\d+)?))?")


def same_unit(one: str, other: str) -> bool:
    """Whether two strings mean the same unit ("m/s" and "m s-1" do)."""
    return one == other or conversion_factor(one, other) == 1.0


def conversion_factor(one: str, other: str) -> float | None:
    """What to multiply values in `one` by to get values in `other`; None if they do not convert."""
    (factor, dimensions), (other_factor, other_dimensions) = _parse(one), _parse(other)
    if dimensions != other_dimensions:
        return None
    ratio = factor / other_factor
    return 1.0 if isclose(ratio, 1.0, rel_tol=1e-12) else ratio


def _parse(unit: str) -> tuple[float, dict[str, Fraction]]:
    text = re.split(r"\s+since\s", unit.strip())[0]  # "days since 2000-01-01" counts days
    try:
        return _read(text)
    except ValueError:
        return 1.0, {text: Fraction(1)}


def _read(text: str) -> tuple[float, dict[str, Fraction]]:
    text = text.replace("·", " ").replace("**", "^").replace("*", " ")
    text = re.sub(r"(?<=\D)\.(?=\D)", " ", text)
    text = re.sub(r"/ *\(([^()]*)\)", lambda inside: "/" + "/".join(inside[1].split()), text)
    if text in ("", "-"):
        return 1.0, {}
    scale, dimensions = 1.0, Counter[str]()
    for sign, token in _tokens(text):
        if _NUMBER.fullmatch(token):
            scale *= float(token) ** sign
            continue
        match = _FACTOR.fullmatch(token)
        if match is None:
            raise ValueError(f"cannot read {token!r}")
        factor, base = _symbol(match["symbol"])
        power = sign * Fraction(match["power"] or 1)
        scale *= factor ** float(power)
        for name, exponent in base.items():
            dimensions[name] += exponent * power  # type: ignore[assignment]
    return scale, {name: Fraction(power) for name, power in dimensions.items() if power}


def _tokens(text: str) -> list[tuple[int, str]]:
    found, sign = [], 1
    # a slash inverts the one factor after it; slashes inside exponents ("m^1/2") stay
    for token in re.sub(r"/(?!\d)", " / ", text).split():
        if token == "/":
            sign = -1
        else:
            found.append((sign, token))
            sign = 1
    return found


def _symbol(symbol: str) -> tuple[float, dict[str, int]]:
    for name in (symbol, symbol.rstrip("s") if len(symbol) > 2 else symbol):
        name = _LONG.get(name, name)
        if name in _UNITS:
            return _UNITS[name]
        for length in (1, 5, 4):
            prefix, rest = name[:length], name[length:]
            rest = _LONG.get(rest, rest)
            if prefix in _PREFIXES and rest in _UNITS and rest not in _UNPREFIXED:
                factor, base = _UNITS[rest]
                return _PREFIXES[prefix] * factor, base
    raise ValueError(f"no unit {symbol!r}")
