"""Pathformer's official arguments, keys and replays, beyond the golden cases."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from surform.hub.convert import convert_state
from surform.hub.official.accounting import KeyMismatch
from surform.hub.official.fixture import Fixture
from surform.hub.official.pathformer import SYSTEM
from surform.hub.verify import find_cases, verify_case
from surform.registry import create_model
from tests.forecasting.literal_pathformer import literal_forward

CASES = find_cases([Path(__file__).parents[1] / "golden" / "pathformer"])
CONFIGS = {
    "seq_len": 12,
    "pred_len": 5,
    "num_nodes": 3,
    "d_model": 4,
    "d_ff": 6,
    "layer_nums": 2,
    "k": 1,
    "num_experts_list": [2, 2],
    "patch_size_list": [[6, 4], [3, 2]],
}


def build(options=None, **changes):
    constructor = {"cls": "Model", "configs": CONFIGS | changes}
    name, arguments = SYSTEM.arguments(constructor)
    torch.manual_seed(0)
    return create_model(name, **arguments | (options or {})).double(), constructor


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
def test_golden_cases_replay(case, dtype):
    report = verify_case(Fixture.load(case), dtype)
    if dtype is torch.float64 and report.rows and Fixture.load(case).dtype is torch.float32:
        # recorded in float32: its rounding, not ours
        assert not report.problem
        return
    assert report.passed, report.worst or report.problem


@pytest.mark.parametrize("batch_norm", [0, 1])
@pytest.mark.parametrize(
    "changes",
    [{}, {"num_experts_list": [1, 3], "patch_size_list": [[12], [1, 2, 4]]}, {"layer_nums": 1}],
)
def test_state_dicts_go_there_and_back(changes, batch_norm):
    model, constructor = build(batch_norm=batch_norm, **changes)
    ours = {k: torch.randn_like(v) if v.ndim else v for k, v in model.state_dict().items()}
    back = SYSTEM.to_ours(SYSTEM.to_official(ours, constructor), constructor)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[key], ours[key]) for key in ours)


def test_official_keys_are_those_of_the_checkpoints():
    fixture = Fixture.load(CASES[0])
    model = SYSTEM.build(fixture, torch.float64)
    official = SYSTEM.to_official(model.state_dict(), fixture.constructor)
    recorded = fixture.parameters(torch.float64)
    assert set(official) < set(recorded)
    for key, value in official.items():
        assert value.shape == recorded[key].shape, key
        assert torch.equal(value, recorded[key]), key
    left = {key.split(".")[-1] for key in set(recorded) - set(official)}
    assert left <= {
        "weight", "bias", "mean", "std", "scale", "running_mean", "running_var",
        "num_batches_tracked",
    }  # fmt: skip


def test_a_checkpoint_converts_with_every_key_accounted_for():
    fixture = Fixture.load(CASES[0])
    state = fixture.parameters(torch.float64)
    net, accounting = convert_state(SYSTEM, state, fixture.constructor, None, {}, "checkpoint")
    assert accounting.complete
    assert set(accounting.used) | set(accounting.dropped) == set(state)
    assert any("never uses" in reason for reason in accounting.dropped.values())
    assert net.arguments["ffn_dropout"] == 0.2


def recorded(mode, **changes):
    """A case of the literal formulas, with all that the official code writes down."""
    model, constructor = build({"dropout": 0.0, "ffn_dropout": 0.0}, **changes)
    model.train(mode == "train")
    torch.manual_seed(2)
    x = torch.randn(5, 12, 3, dtype=torch.float64)
    tensors = {f"param/{k}": v.clone() for k, v in official(model, constructor).items()}
    torch.manual_seed(3)
    counts = [layer.router.experts for layer in model.layers]
    noises = [torch.randn(5, count, dtype=torch.float64) for count in counts]
    torch.manual_seed(3)  # the literal formulas draw the same
    y, penalty = literal_forward(model, x)
    cotangent = torch.randn_like(y)
    (y * cotangent).sum().backward()
    gradients = {k: torch.zeros_like(v) for k, v in model.state_dict().items()}
    gradients |= {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    gradients = SYSTEM.to_official(gradients, constructor)
    tensors |= {
        f"grad/{k}": v
        for k, v in gradients.items()
        if tensors[f"param/{k}"].is_floating_point() and "running" not in k
    }
    if mode == "train":
        after = official(model, constructor)
        tensors |= {f"out/{k}": v for k, v in after.items() if "running" in k}
    unused = "AMS_lists.0.end_MLP.fc.weight"
    tensors |= {f"param/{unused}": torch.ones(2, 2).double()}
    tensors |= {f"grad/{unused}": torch.zeros(2, 2).double()}
    tensors |= {f"in/noise{i}": noise for i, noise in enumerate(noises)}
    tensors |= {"in/x": x, "in/cot": cotangent, "out/y0": y.detach(), "out/y1": penalty.detach()}
    return Fixture(
        "pathformer", "model", {}, constructor, mode, torch.float64, 1e-9, 1e-10, Path("made.json"),
        {k: v.detach().clone() for k, v in tensors.items()},
    )  # fmt: skip


def official(model, constructor):
    return SYSTEM.to_official(model.state_dict(), constructor)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("batch_norm", [0, 1])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_layers_with_fewer_experts_than_k_take_all(k, batch_norm, mode):
    rows = {"patch_size_list": [[6, 4, 3], [3, 2]], "num_experts_list": [3, 2]}
    case = recorded(mode, k=k, batch_norm=batch_norm, **rows)
    report = verify_case(case)
    assert report.passed, report.problem or report.worst
    names = {row.name for row in report.rows}
    assert "grad/AMS_lists.0.end_MLP.fc.weight" in names
    statistics = "out/AMS_lists.1.experts.0.norm_ffn.1.running_var"
    assert (statistics in names) == (mode == "train" and batch_norm == 1)


def test_missing_and_foreign_keys_are_refused():
    fixture = Fixture.load(CASES[0])
    state = fixture.parameters(torch.float64)
    state["AMS_lists.0.other"] = state.pop("AMS_lists.0.experts.0.W_pos")
    with pytest.raises(KeyMismatch, match=r"1 missing: .*W_pos.*1 unknown: .*AMS_lists.0.other"):
        convert_state(SYSTEM, state, fixture.constructor, None, {}, "checkpoint")


def test_missing_arguments_take_the_official_defaults():
    name, arguments = SYSTEM.arguments({"configs": {}})
    assert name == "pathformer"
    assert arguments["patch_sizes"] == ((16, 12, 8, 32), (12, 8, 6, 4), (8, 6, 4, 2))
    assert (arguments["variates"], arguments["dim"], arguments["top_k"]) == (21, 16, 2)
    assert (arguments["normalize"], arguments["residual"], arguments["batch_norm"]) == (True, 0, 0)
    assert SYSTEM.arguments({}) == SYSTEM.arguments({"configs": {}})


def test_flat_patch_lists_are_shared_by_the_layers():
    flat = {**CONFIGS, "patch_size_list": [6, 4, 3, 2]}
    assert SYSTEM.arguments(flat)[1]["patch_sizes"] == ((6, 4), (3, 2))
    with pytest.raises(ValueError, match="3 patch sizes cannot be shared by 2 layers"):
        SYSTEM.arguments({**CONFIGS, "patch_size_list": [6, 4, 3]})
    with pytest.raises(ValueError, match="as many patch sizes as experts"):
        SYSTEM.arguments({**CONFIGS, "num_experts_list": [2, 3]})
    with pytest.raises(ValueError, match="choose model"):
        SYSTEM.arguments(CONFIGS, kind="windows")


def test_what_weights_do_not_tell_is_asked_for():
    model, constructor = build()
    state = SYSTEM.to_official(model.state_dict(), constructor)
    with pytest.raises(ValueError, match=r"k, residual_connection.*'seq_len': 12.*\[\[6, 4\]"):
        SYSTEM.infer(state)


def test_training_cases_need_their_noise():
    fixture = Fixture.load(next(case for case in CASES if "noisy" in case.stem))
    lacking = {k: v for k, v in fixture.tensors.items() if k != "in/noise1"}
    report = verify_case(dataclasses.replace(fixture, tensors=lacking))
    assert "noise1" in report.problem


def test_a_penalty_with_weights_of_its_own_counts():
    fixture = Fixture.load(next(case for case in CASES if "noisy" in case.stem))
    tensors = fixture.tensors | {"in/cot_y1": torch.tensor([3.0], dtype=torch.float64)}
    plain = SYSTEM.kinds["model"](fixture, torch.float64)
    weighted = SYSTEM.kinds["model"](dataclasses.replace(fixture, tensors=tensors), torch.float64)
    difference = weighted.loss - plain.loss
    torch.testing.assert_close(difference, 3 * plain.outputs["y1"].sum())
