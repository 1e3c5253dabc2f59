"""GNOT's official arguments, keys and replays, and cases beyond the golden ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from surform.hub.convert import convert_state
from surform.hub.official.fixture import Fixture
from surform.hub.official.gnot import SYSTEM
from surform.hub.verify import find_cases, verify_case
from surform.registry import create_model
from tests.operators.literal_gnot import literal_forward

CASES = find_cases([Path(__file__).parents[1] / "golden" / "gnot"])
GNOT = {
    "trunk_size": 5,
    "branch_sizes": [3, 2],
    "space_dim": 2,
    "output_size": 3,
    "n_layers": 2,
    "n_hidden": 12,
    "n_head": 3,
    "n_experts": 3,
    "n_inner": 2,
    "mlp_layers": 2,
}
CGPT = {k: v for k, v in GNOT.items() if k not in ("space_dim", "n_experts", "n_inner")}


def build(constructor, kind=None, **options):
    name, arguments = SYSTEM.arguments(constructor, kind=kind, options=options)
    torch.manual_seed(0)
    return create_model(name, **arguments).double()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_golden_case(case, dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.problem == ""
    assert report.passed, [row for row in report.rows if not row.passed]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_all_that_was_recorded_is_compared(case):
    fixture = Fixture.load(case)
    names = {row.name for row in verify_case(fixture).rows}
    recorded = {name for name in fixture.tensors if name.startswith(("out/", "mid/", "grad/"))}
    assert names == recorded


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_keys_survive_the_way_there_and_back(case):
    fixture = Fixture.load(case)
    official = fixture.parameters(torch.float64)
    ours = SYSTEM.to_ours(official, fixture.constructor)
    back = SYSTEM.to_official(ours, fixture.constructor)
    assert back.keys() == official.keys()
    assert all(torch.equal(back[key], official[key]) for key in official)


def recorded(constructor, kind, mode="eval", parameters=2, counts=(6, 9, 4)):
    """A case of the literal formulas, with all that the official code writes down."""
    name, arguments = SYSTEM.arguments(constructor, kind=kind, options={"parameters": parameters})
    torch.manual_seed(0)
    model = create_model(name, **arguments).double()
    official = {
        k: torch.randn_like(v)
        for k, v in SYSTEM.to_official(model.state_dict(), constructor).items()
    }
    model.load_state_dict(SYSTEM.to_ours(official, constructor))
    columns = constructor["trunk_size"] - parameters
    inputs = {f"x{i}": torch.randn(n, columns).double() for i, n in enumerate(counts)}
    inputs["theta"] = torch.randn(len(counts), parameters).double()
    for j, width in enumerate(constructor["branch_sizes"] or ()):
        inputs |= {f"f{j}_{i}": torch.randn(3 + i + j, width).double() for i in range(len(counts))}

    for value in inputs.values():
        value.requires_grad_()

    def padded(start):
        return torch.nn.utils.rnn.pad_sequence(
            [inputs[f"{start}{i}"] for i in range(len(counts))], batch_first=True
        )

    functions = [padded(f"f{j}_") for j in range(len(constructor["branch_sizes"] or ()))]
    y = literal_forward(model, padded("x"), inputs["theta"], functions)
    y = torch.cat([y[i, :n] for i, n in enumerate(counts)])
    cot = torch.randn_like(y)
    (y * cot).sum().backward()
    gradients = {k: p.grad for k, p in model.named_parameters()}
    unused = {}
    if constructor.get("n_experts") == 1:
        unused["blocks.0.gatenet.0.weight"] = torch.ones(24, 2).double()
    tensors = {f"param/{k}": v for k, v in (official | unused).items()}
    tensors |= {f"in/{k}": v for k, v in inputs.items()} | {"in/cot": cot, "out/y": y}
    tensors |= {f"grad/in/{k}": v.grad for k, v in inputs.items()}
    gradients = SYSTEM.to_official(gradients, constructor)
    gradients |= {k: torch.zeros_like(v) for k, v in unused.items()}
    tensors |= {f"grad/{k}": v for k, v in gradients.items()}
    return Fixture(
        "gnot", kind, {}, constructor, mode, torch.float64, 1e-9, 1e-10, Path("made.json"),
        {k: v.detach().clone() for k, v in tensors.items()},
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gnot", {"n_experts": 1}),
        ("gnot", {"n_head": 1, "act": "tanh", "ffn_dropout": 0.1, "attn_dropout": 0.2}),
        ("gnot", {"branch_sizes": [], "act": "sigmoid", "mlp_layers": 0}),
        ("gnot", {"branch_sizes": [4], "act": "relu", "n_layers": 1, "n_head": 12}),
        ("cgpt", {"horiz_fourier_dim": 1, "ffn_dropout": 0.1}),
        ("cgpt", {"branch_sizes": None, "act": "tanh"}),
    ],
)
def test_other_options_replay(kind, changes, mode):
    case = recorded((GNOT if kind == "gnot" else CGPT) | changes, kind, mode)
    report = verify_case(case)
    assert report.problem == ""
    assert report.passed, [row for row in report.rows if not row.passed]
    assert len(report.rows) > 20


def test_no_global_parameter():
    for parameters in (0, 1):
        assert verify_case(recorded(GNOT, "gnot", parameters=parameters)).passed


@pytest.mark.parametrize("gated", [False, True])
def test_a_checkpoint_converts_with_every_key_accounted_for(gated):
    constructor = GNOT | {"n_experts": 1} if gated else CGPT
    case = recorded(constructor, "gnot" if gated else "cgpt")
    state = case.parameters(torch.float64)
    net, accounting = convert_state(SYSTEM, state, constructor, None, {}, "checkpoint")
    assert accounting.complete
    assert set(accounting.used) | set(accounting.dropped) == set(state)
    assert net.arguments["parameters"] == (3 if gated else 0)
    assert net.arguments["legacy_padding"]
    if gated:
        assert set(accounting.dropped.values()) == {
            "with one expert the gate is 1, whatever its weights"
        }


def test_options_of_the_conversion():
    options = {"parameters": 1, "legacy_padding": False}
    _, arguments = SYSTEM.arguments(CGPT, options=options)
    assert (arguments["in_channels"], arguments["parameters"]) == (4, 1)
    assert not arguments["legacy_padding"]


def test_official_defaults():
    name, arguments = SYSTEM.arguments({"branch_sizes": [2]}, kind="gnot")
    assert name == "gnot"
    expected = {"depth": 2, "dim": 64, "experts": 2, "mlp_ratio": 4.0, "mlp_depth": 2}
    assert expected.items() <= arguments.items()
    official = SYSTEM.to_official(
        create_model(name, **arguments).state_dict(), {"branch_sizes": [2]}
    )
    assert "blocks.1.moe_mlp2.1.2.bias" in official


@pytest.mark.parametrize(
    ("constructor", "kind", "message"),
    [
        (GNOT, "mlp", "kind 'mlp' is no GNOT model: choose gnot or cgpt"),
        (GNOT, "cgpt", "CGPTNO takes no n_experts"),
        (GNOT | {"attn_type": "kernel"}, "gnot", "attn_type 'kernel' is not supported"),
        (GNOT | {"horiz_fourier_dim": 2}, "gnot", "cannot run with horiz_fourier_dim > 0"),
        (GNOT | {"act": "softplus"}, "gnot", "activation is 'softplus'"),
    ],
)
def test_wrong_arguments_are_named(constructor, kind, message):
    with pytest.raises(ValueError, match=message):
        build(constructor, kind)


def test_weights_alone_do_not_tell_the_model():
    state = recorded(GNOT, "gnot").parameters(torch.float64)
    with pytest.raises(ValueError, match=r"n_hidden=12, n_layers=2, mlp_layers=2, but not n_head"):
        SYSTEM.infer(state)
    with pytest.raises(KeyError):
        SYSTEM.infer({})
