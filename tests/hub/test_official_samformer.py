"""SAMformer's official weights: both ways for PyTorch, one way from Keras's arrays."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import Tensor

from surform.hub.convert import convert_state, from_official
from surform.hub.official.fixture import Fixture
from surform.hub.official.samformer import SYSTEM
from surform.hub.official.samformer_keras import from_keras
from surform.hub.verify import verify_case
from surform.registry import create_model

GOLDEN = Path(__file__).parents[1] / "golden" / "samformer"
CONSTRUCTOR = {"num_channels": 4, "seq_len": 10, "hid_dim": 3, "pred_horizon": 6}


def official_state(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    shapes = {
        "revin.affine_weight": (4,),
        "revin.affine_bias": (4,),
        "compute_keys.weight": (3, 10),
        "compute_keys.bias": (3,),
        "compute_queries.weight": (3, 10),
        "compute_queries.bias": (3,),
        "compute_values.weight": (10, 10),
        "compute_values.bias": (10,),
        "linear_forecaster.weight": (6, 10),
        "linear_forecaster.bias": (6,),
    }
    return {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}


def test_weights_go_there_and_back():
    state = official_state()
    back = SYSTEM.to_official(SYSTEM.to_ours(state, CONSTRUCTOR), CONSTRUCTOR)
    assert set(back) == set(state)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_without_revin_its_parameters_are_left_out_and_accounted_for():
    off = CONSTRUCTOR | {"use_revin": False}
    state = official_state()
    ours = SYSTEM.to_ours(state, off)
    name, arguments = SYSTEM.arguments(off)
    create_model(name, **arguments).double().load_state_dict(ours)
    back = SYSTEM.to_official(ours, off)
    unused = {"revin.affine_weight", "revin.affine_bias"}
    assert set(back) == set(state) - unused
    assert all(torch.equal(back[name], state[name]) for name in back)
    net, accounting = convert_state(SYSTEM, state, off, None, {}, "here")
    assert set(accounting.dropped) == unused
    assert set(accounting.used) == set(back)
    assert net.revin is None
    assert not convert_state(SYSTEM, state, CONSTRUCTOR, None, {}, "here")[1].dropped


def test_arguments_are_read_off_the_weights_with_the_official_defaults():
    assert SYSTEM.infer is not None
    assert SYSTEM.infer(official_state()) == CONSTRUCTOR | {"use_revin": True}
    began = {"revin.affine_weight": torch.ones(4), "revin.affine_bias": torch.zeros(4)}
    with pytest.raises(
        ValueError, match=r"num_channels=4, .*pred_horizon=6, but not its use_revin"
    ):
        SYSTEM.infer(official_state() | began)
    bare = {k: v for k, v in CONSTRUCTOR.items() if k != "hid_dim"}
    expected = {"lookback": 10, "horizon": 6, "variates": 4, "dim": 16, "normalize": True}
    assert SYSTEM.arguments(bare) == ("samformer", expected)
    with pytest.raises(ValueError, match="choose model or sam_steps"):
        SYSTEM.arguments(bare, kind="demo")


def keras_arrays(heads: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    length, width, horizon, variates = 10, 3, 6, 4
    shapes: dict[str, tuple[int, ...]] = {
        "attention_output/kernel": (heads, width, length),
        "attention_output/bias": (length,),
    }
    for layer in ("query", "key", "value"):
        shapes |= {f"{layer}/kernel": (length, heads, width), f"{layer}/bias": (heads, width)}
    arrays = {f"multi_head_attention/{n}:0": draw.normal(size=s) for n, s in shapes.items()}
    arrays["dense_3/kernel:0"] = draw.normal(size=(length, horizon))
    arrays["dense_3/bias:0"] = draw.normal(size=horizon)
    arrays["rev_norm/affine_weight:0"] = draw.uniform(0.5, 1.5, variates)
    arrays["rev_norm/affine_bias:0"] = draw.normal(size=variates)
    return arrays


def keras_forecast(arrays: dict[str, np.ndarray], history: np.ndarray) -> np.ndarray:
    """The TensorFlow network in NumPy: (b, l, v) -> (b, h, v)."""
    part = {"/".join(n.removesuffix(":0").split("/")[-2:]): a for n, a in arrays.items()}
    scale, shift = part["rev_norm/affine_weight"], part["rev_norm/affine_bias"]
    mean = history.mean(1, keepdims=True)
    deviation = np.sqrt(history.var(1, keepdims=True) + 1e-5)
    x = ((history - mean) / deviation * scale + shift).transpose(0, 2, 1)
    q, k, v = (
        np.einsum("bvl,lhd->bhvd", x, part[f"{n}/kernel"]) + part[f"{n}/bias"][:, None]
        for n in ("query", "key", "value")
    )
    scores = np.einsum("bhvd,bhwd->bhvw", q / np.sqrt(q.shape[-1]), k)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed = np.einsum("bhvw,bhwd->bhvd", weights, v)
    out = np.einsum("bhvd,hdl->bvl", mixed, part["attention_output/kernel"])
    x = x + out + part["attention_output/bias"]
    y = (x @ part["dense_3/kernel"] + part["dense_3/bias"]).transpose(0, 2, 1)
    return (y - shift) / scale * deviation + mean


def test_keras_arrays_become_a_model_that_forecasts_the_same(tmp_path: Path):
    arrays = keras_arrays()
    save_arrays(arrays, tmp_path / "tf.safetensors")
    model = from_official(tmp_path / "tf.safetensors", "samformer").model
    history = np.random.default_rng(1).normal(size=(5, 10, 4)) * 3 + 2
    found = model.net(torch.from_numpy(history)).detach().numpy()
    np.testing.assert_allclose(found, keras_forecast(arrays, history), rtol=1e-9, atol=1e-9)
    assert torch.linalg.matrix_rank(model.net.value.weight) == 3


def test_pytorch_weights_become_a_model_in_physical_units(tmp_path: Path):
    save_file(official_state(), tmp_path / "model.safetensors")
    model = from_official(tmp_path / "model.safetensors", "samformer").model
    history = torch.randn(2, 10, 4, dtype=torch.float64)
    torch.testing.assert_close(model(history), model.net(history))  # identity statistics


def arrays_without(name: str) -> dict[str, Any]:
    return {n: torch.from_numpy(a) for n, a in keras_arrays().items() if name not in n}


@pytest.mark.fault
def test_keras_arrays_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="lack attention_output/bias"):
        from_keras(arrays_without("attention_output/bias"))
    with pytest.raises(ValueError, match="hold the unknown query/scale"):
        from_keras(arrays_without("none") | {"query/scale:0": torch.ones(1)})
    with pytest.raises(ValueError, match=r"dense/kernel twice, the second time as dense_4/kernel"):
        from_keras(arrays_without("none") | {"dense_4/kernel:0": torch.ones(1)})
    two = {n: torch.from_numpy(a) for n, a in keras_arrays(heads=2).items()}
    with pytest.raises(ValueError, match="has 2 heads, but must have one"):
        from_keras(two)


def golden(name: str) -> Fixture:
    return Fixture.load(GOLDEN / name)


def test_unflattened_outputs_and_revin_switched_off_replay_too():
    """A fixture's options change what is compared, not only what is reported."""
    case = golden("norevin_flat")
    shape = (3, 7, 9)
    tensors = case.tensors | {n: case.tensors[n].view(shape) for n in ("out/y", "in/cot")}
    zeros = {f"grad/revin.affine_{n}": torch.zeros(7).double() for n in ("weight", "bias")}
    unflattened = dataclasses.replace(
        case, options={"flatten_output": False}, tensors=tensors | zeros
    )
    assert verify_case(unflattened).passed
    assert verify_case(dataclasses.replace(case, options={})).passed  # flattened by default
    assert not verify_case(dataclasses.replace(case, options={"flatten_output": False})).passed
    on = dataclasses.replace(case, constructor=case.constructor | {"use_revin": True})
    assert not verify_case(on).passed


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("noise", "passes"), [(1e-9, True), (1e-6, False)])
def test_noise_in_what_no_loss_depends_on_is_allowed(noise, passes, dtype):
    """The keys' bias has no gradient but rounding's, which Adam turns into steps."""
    case = golden("sam_adam_steps")
    options = {k: v for k, v in case.constructor["optimizer"].items() if k != "weight_decay"}
    options |= {"lr": 1e-2}
    case = dataclasses.replace(case, constructor=case.constructor | {"optimizer": options})
    replay = SYSTEM.kinds["sam_steps"](case, torch.float64)
    ours = {f"out/{n}": v.detach().clone() for n, v in replay.outputs.items()}
    kept = {n: v for n, v in case.tensors.items() if n.startswith(("param/", "in/"))}
    again = dataclasses.replace(case, tensors=kept | ours)
    assert verify_case(again, dtype).passed
    again.tensors["out/after_step0.compute_keys.bias"] += noise
    report = verify_case(again, dtype)
    assert report.passed is (passes or dtype == torch.float32)
    again.tensors["out/after_step0.compute_keys.weight"] += 1e-3
    missed = [row.name for row in verify_case(again, dtype).rows if not row.passed]
    assert "out/after_step0.compute_keys.weight" in missed


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({}, True),
        ({"rho": 0.4}, False),
        ({"adaptive": True}, False),
        ({"base": "torch.optim.AdamW"}, False),
        ({"weight_decay": 0.1}, False),
        ({"base": "torch.optim.Adamant"}, False),
    ],
)
def test_every_option_of_the_optimizer_counts(options: dict[str, Any], passes: bool):
    case = golden("sam_adam_steps")
    optimizer = case.constructor["optimizer"] | options
    changed = dataclasses.replace(case, constructor=case.constructor | {"optimizer": optimizer})
    assert verify_case(changed).passed is passes
