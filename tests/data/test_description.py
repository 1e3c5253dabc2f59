from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from surform.data.description import FieldsDescription

KOLMOGOROV = FieldsDescription(
    inputs=("w",),
    targets=("w",),
    parameters=("re",),
    axes=("x", "y"),
    shape=(2, 3),
    coordinates={"x": [0.0, 0.5], "y": [0.0, 1.0, 2.0]},
    periodic={"x": True, "y": True},
    units={"w": "s-1", "x": "m", "y": "m", "time": "s", "re": "1"},
    input_steps=10,
    target_steps=4,
    time_step=0.0625,
    source={"fingerprint": "abc"},
)


def test_json_gives_the_same_description_back() -> None:
    text = json.dumps(KOLMOGOROV.to_dict())
    assert FieldsDescription.from_dict(json.loads(text)) == KOLMOGOROV


def test_channels_and_coordinates() -> None:
    assert (KOLMOGOROV.in_channels, KOLMOGOROV.out_channels) == (2, 1)
    x, y = KOLMOGOROV.coordinate_tensors(dtype=torch.float64)
    assert x.tolist() == [0.0, 0.5]
    assert y.dtype == torch.float64


def test_unknown_and_missing_keys_are_named() -> None:
    with pytest.raises(ValueError, match="unknown keys in a fields description: colour"):
        FieldsDescription.from_dict({**KOLMOGOROV.to_dict(), "colour": "red"})
    with pytest.raises(ValueError, match="lacks the keys inputs"):
        FieldsDescription.from_dict({"targets": ["w"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ("p",)}, "trained with inputs w, new.zarr has p"),
        ({"parameters": ()}, "trained with parameters re, new.zarr has none"),
        ({"units": {"w": "min-1"}}, "w in 's-1', new.zarr gives it in 'min-1': multiply by 0.016"),
        ({"units": {"w": "m"}}, "they do not convert"),
        ({"time_step": 0.125}, "time step of 0.0625, new.zarr has 0.125: set time_stride"),
        ({"input_steps": 4}, "trained with input_steps 10"),
    ],
)
def test_data_that_do_not_suit_a_model_are_refused(change: dict, message: str) -> None:
    change = {
        **change,
        **({"units": KOLMOGOROV.units | change["units"]} if "units" in change else {}),
    }
    with pytest.raises(ValueError, match=message):
        KOLMOGOROV.require_match(replace(KOLMOGOROV, **change), "new.zarr")


def test_other_grids_and_other_spellings_of_units_suit() -> None:
    other = replace(KOLMOGOROV, shape=(4, 6), units=KOLMOGOROV.units | {"w": "1/s"})
    KOLMOGOROV.require_match(other, "new.zarr")
