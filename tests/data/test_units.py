from __future__ import annotations

import pytest

from surform.data.units import conversion_factor, same_unit


@pytest.mark.parametrize(
    ("one", "other", "factor"),
    [
        ("m/s", "m s-1", 1.0),
        ("m s^-1", "m*s**-1", 1.0),
        ("m.s-1", "m·s-1", 1.0),
        ("", "1", 1.0),
        ("1/s", "Hz", 1.0),
        ("km", "m", 1e3),
        ("kg/m^3", "g cm-3", 1e-3),
        ("hPa", "kg m-1 s-2", 1e2),
        ("hours", "min", 60.0),
        ("W m-2", "kg s-3", 1.0),
        ("days since 2000-01-01", "d", 1.0),
        ("hours since 1900-01-01 00:00:0.0", "s", 3600.0),
        ("degrees_C", "degC", 1.0),
        ("1e-3", "1", 1e-3),
        ("mol/(m s)", "mol m-1 s-1", 1.0),
        ("ppm", "1e-6", 1.0),
        ("m", "s", None),
        ("K", "degC", None),
    ],
)
def test_units_convert(one: str, other: str, factor: float | None) -> None:
    found = conversion_factor(one, other)
    assert found == (pytest.approx(factor) if factor is not None else None)
    assert same_unit(one, other) == (factor == 1.0)


@pytest.mark.parametrize("unit", ["furlong", "m^", "m s-", "(0 - 1)", "m of water equivalent"])
def test_units_that_cannot_be_read_equal_only_themselves(unit: str) -> None:
    assert same_unit(unit, unit)
    assert not same_unit(unit, "m")
    assert conversion_factor(unit, "m") is None
