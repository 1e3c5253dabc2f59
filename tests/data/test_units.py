from __future__ import annotations

import pytest

from surform.data.units import check_unit, conversion_factor, same_unit


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
        ("m", "s", None),
        ("K", "degC", None),
    ],
)
def test_units_convert(one: str, other: str, factor: float | None) -> None:
    found = conversion_factor(one, other)
    assert found == (pytest.approx(factor) if factor is not None else None)
    assert same_unit(one, other) == (factor == 1.0)


@pytest.mark.parametrize("unit", ["furlong", "m^", "m s-", "kelvinn", "(m s)-1"])
def test_unknown_units_are_refused_in_one_sentence(unit: str) -> None:
    with pytest.raises(ValueError, match=r"^flow.zarr, variable u has the unknown unit '.*"):
        check_unit(unit, "flow.zarr, variable u")


def test_a_misspelt_unit_is_met_with_the_right_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'kelvin'"):
        check_unit("kelvinn", "x")
