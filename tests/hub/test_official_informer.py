"""The official Informer: cases that nobody recorded, what bare weights and words do not tell."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surform.hub.official.fixture import Fixture
from surform.hub.official.informer import SYSTEM
from surform.hub.verify import verify_case
from surform.registry import create_model
from tests.forecasting.literal_informer import literal_informer, samples_for

CONSTRUCTOR: dict[str, Any] = {
    "cls": "Informer", "enc_in": 3, "dec_in": 3, "c_out": 3, "seq_len": 24, "label_len": 8,
    "out_len": 10, "factor": 1, "d_model": 16, "n_heads": 4, "e_layers": 2, "d_layers": 1,
    "d_ff": 20, "dropout": 0.3, "attn": "prob", "embed": "timeF", "freq": "h",
    "activation": "gelu", "distil": True, "mix": True,
}  # fmt: skip


def case(mode: str = "eval", maps: bool = False, **changes: Any) -> Fixture:
    """A case of the literal formulas, which know no dropout, under the official names."""
    given = CONSTRUCTOR | changes
    torch.manual_seed(0)
    name, arguments = SYSTEM.arguments(given)
    net = create_model(name, **arguments).double()
    state = SYSTEM.to_official(net.state_dict(), given)
    steps = given["label_len"] + given["out_len"]
    x, start = torch.randn(2, 24, 3).double(), torch.randn(2, steps, 3).double()
    marks = [torch.rand(2, n, 4).double() - 0.5 for n in (24, steps)]
    tensors = {f"param/{key}": value.clone() for key, value in state.items()}
    samples = samples_for(given, 24)
    inputs = (x, marks[0], start, marks[1])
    y, found = literal_informer(state, given, inputs, samples, mode == "train")
    names = ("x_enc", "x_mark_enc", "x_dec", "x_mark_dec")
    tensors |= {f"in/{name}": value for name, value in zip(names, inputs, strict=True)}
    tensors |= {f"in/index_sample.{i:02d}": value for i, value in enumerate(samples)}
    tensors["out/y"] = y.detach()
    if maps:
        tensors |= {f"out/attn.{i}": value.detach() for i, value in enumerate(found)}
    return Fixture(
        "informer", "model", {}, given, mode, torch.float64, 1e-9, 1e-10, Path("made.json"), tensors
    )


def without(fixture: Fixture, *names: str) -> Fixture:
    kept = {name: value for name, value in fixture.tensors.items() if name not in names}
    return dataclasses.replace(fixture, tensors=kept)


def test_dropout_that_was_set_to_zero_stays_in_the_constructor():
    report = verify_case(case("train"))
    assert report.passed, report.problem or report.worst


def test_samples_of_32_bits_are_samples():
    fixture = case()
    short = {k: v.int() if "index_sample" in k else v for k, v in fixture.tensors.items()}
    assert verify_case(dataclasses.replace(fixture, tensors=short)).passed


@pytest.mark.parametrize(
    "changes",
    [
        {"e_layers": 3},
        {"e_layers": 2, "distil": False},
        {"cls": "InformerStack", "e_layers": [2, 1], "d_layers": 2},
    ],
)
def test_a_missing_sample_is_named(changes: dict[str, Any]):
    fixture = case(**changes)
    names = sorted(name for name in fixture.tensors if "index_sample" in name)
    assert verify_case(fixture).passed
    for name in names:
        problem = verify_case(without(fixture, name)).problem
        assert problem == f"ValueError: made.json lacks the recorded samples {name}"
    assert ", ".join(names) in verify_case(without(fixture, *names)).problem


def test_samples_that_choose_nothing_may_be_missing():
    """At factor 6 all of 24, 12 and 18 queries are active; at factor 5 only the 12."""
    fixture = case(factor=6)
    names = [name for name in fixture.tensors if "index_sample" in name]
    assert verify_case(without(fixture, *names)).passed
    partly = case(factor=5)
    assert verify_case(without(partly, "in/index_sample.01")).passed
    problem = verify_case(without(partly, *names)).problem
    assert problem.endswith("recorded samples in/index_sample.00, in/index_sample.02")


@pytest.mark.parametrize("rounded", [True, False])
def test_maps_have_the_background_of_either_precision(rounded: bool):
    fixture = case(maps=True)
    kept = dict(fixture.tensors)
    for name in [name for name in kept if "attn." in name and name.startswith("out/")]:
        value = kept[name]
        assert (value == 1 / value.shape[-1]).any()
        if rounded:
            kept[name] = torch.where(value == 1 / value.shape[-1], value.float(), value).double()
    report = verify_case(dataclasses.replace(fixture, tensors=kept, rtol=1e-12, atol=1e-13))
    maps = [row for row in report.rows if "attn." in row.name]
    assert len(maps) == 2
    assert all(row.passed for row in maps), report.worst


def test_missing_arguments_and_inputs_are_named():
    fixture = case()
    lacking = {k: v for k, v in CONSTRUCTOR.items() if k != "out_len"}
    problem = verify_case(dataclasses.replace(fixture, constructor=lacking)).problem
    assert problem == "ValueError: the constructor arguments for made.json lack 'out_len'"
    other = dataclasses.replace(fixture, constructor=lacking | {"pred_len": 10})
    assert verify_case(other).passed
    problem = verify_case(without(fixture, "in/x_enc")).problem
    assert problem == "ValueError: made.json lacks the input in/x_enc"
    query = "encoder.attn_layers.1.attention.query_projection.weight"
    assert f"1 missing: {query}" in verify_case(without(fixture, f"param/{query}")).problem


def times(seconds: Tensor, outputs: dict[str, Tensor]) -> Fixture:
    tensors = {"in/epoch_seconds": seconds} | {f"out/{k}": v for k, v in outputs.items()}
    return Fixture(
        "informer", "time_features", {}, {}, "n/a", torch.float64, 1e-12, 1e-12,
        Path("made.json"), tensors,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_time_features_of_any_kind_of_seconds(kind: torch.dtype, dtype: torch.dtype):
    seconds = torch.tensor(
        [1_467_331_261, 1_500_000_123]
    )  # 2016-07-01 00:01:01; 2017-07-14 02:42:03
    hours = torch.tensor([[7, 1, 4, 0], [7, 14, 4, 2]])
    outputs = {
        "fixed.h": hours,
        "fixed.y": torch.zeros(2, 0, dtype=torch.int64),
        "timeF.s": torch.tensor([[1, 1], [3, 42]]) / 59 - 0.5,
    }
    found = SYSTEM.kinds["time_features"](times(seconds.to(kind), outputs), dtype).outputs
    assert found["fixed.y"].shape == (2, 0)
    torch.testing.assert_close(found["timeF.s"][:, :2].float(), outputs.pop("timeF.s"))
    report = verify_case(times(seconds.to(kind), outputs), dtype)
    assert report.passed, report.problem or report.worst
