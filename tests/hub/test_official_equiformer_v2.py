"""EquiformerV2's official arguments, both layouts of keys, checkpoints, and other options."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from surform.hub.convert import from_official, to_official
from surform.hub.official.equiformer_v2 import SYSTEM
from surform.hub.official.fixture import Fixture
from surform.hub.verify import find_cases, verify_case
from surform.registry import create_model
from tests.atomistic.literal_equiformer_v2 import Literal

CASES = find_cases([Path(__file__).parents[1] / "golden" / "equiformer_v2"])
MODELS = [case for case in CASES if case.stem != "components"]
MEAN, STD = -0.7554450631141663, 2.887317180633545  # of OC20
TOY = {
    "max_radius": 4.0, "max_num_elements": 9, "num_layers": 1, "sphere_channels": 4,
    "attn_hidden_channels": 3, "num_heads": 2, "attn_alpha_channels": 3, "attn_value_channels": 2,
    "ffn_hidden_channels": 5, "edge_channels": 4, "lmax_list": [2], "mmax_list": [1],
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_golden_case(case, dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.problem == ""
    assert report.passed, [row for row in report.rows if not row.passed]
    fixture = Fixture.load(case)
    recorded = {name for name in fixture.tensors if name.startswith(("out/", "mid/", "grad/"))}
    assert {row.name for row in report.rows} == recorded


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.stem)
def test_the_literal_path_gives_the_official_numbers(case):
    fixture = Fixture.load(case)
    t = fixture.tensors
    literal = Literal(fixture.parameters(torch.float64), fixture.constructor)
    source, target = t["in/edge_index"]
    vectors = t["in/pos"][source] - t["in/pos"][target]
    if "in/cell" in t:
        cell = t["in/cell"][t["in/batch"][target]]
        vectors = vectors + (t["in/cell_offsets"].double()[:, None] @ cell)[:, 0]
    found = literal(
        t["in/atomic_numbers"], t["in/edge_index"], vectors, t["in/edge_rot_mat"], t["in/batch"],
        len(t["in/natoms"]),
    )  # fmt: skip
    for ours, name in zip(found, ("energy", "forces"), strict=True):
        torch.testing.assert_close(ours, t[f"out/{name}"], rtol=1e-12, atol=1e-14)
    for name, ours in literal.mid.items():
        torch.testing.assert_close(ours, t[f"mid/{name}"], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.stem)
def test_keys_survive_the_way_there_and_back(case):
    fixture = Fixture.load(case)
    official = fixture.parameters(torch.float64)
    kept = {key: value for key, value in official.items() if not SYSTEM.leaves_out(key)}
    kept |= {key: value for key, value in official.items() if key.startswith("force_block.")}
    kept = {k: v for k, v in kept.items() if "expand_index" not in k}
    back = SYSTEM.to_official(SYSTEM.to_ours(official, fixture.constructor), fixture.constructor)
    assert back.keys() == kept.keys()
    assert all(torch.equal(back[key], kept[key]) for key in kept)


@pytest.mark.parametrize(
    "changes",
    [
        {"lmax_list": [3], "mmax_list": [3], "use_grid_mlp": True, "grid_resolution": 9},
        {"use_grid_mlp": True, "use_sep_s2_act": False, "norm_type": "layer_norm"},
        {"use_grid_mlp": True, "use_gate_act": True, "norm_type": "layer_norm_sh"},
        {"use_gate_act": True, "share_atom_edge_embedding": True, "mmax_list": [2]},
        {"use_m_share_rad": True, "use_attn_renorm": False},
        {"use_atom_edge_embedding": False, "use_sep_s2_act": False, "lmax_list": [1]},
        {"mmax_list": [0]},
    ],
    ids=str,
)
def test_other_options_give_the_literal_numbers(changes):
    """With the same frames for both."""
    constructor = TOY | changes
    name, arguments = SYSTEM.arguments(constructor)
    torch.manual_seed(0)
    net = create_model(name, **arguments).double().eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    state = SYSTEM.to_official(net.state_dict(), constructor)
    assert SYSTEM.to_ours(state, constructor).keys() == net.state_dict().keys()
    positions = torch.randn(5, 3).double() * 1.5
    z = torch.tensor([1, 8, 6, 1, 7])
    edges = torch.tensor([[i, j] for j in range(5) for i in range(5) if i != j]).t()
    vectors = positions[edges[0]] - positions[edges[1]]
    n = torch.nn.functional.normalize(vectors, dim=1)
    aside = torch.nn.functional.normalize(torch.linalg.cross(n, torch.randn(20, 3).double()), dim=1)
    frames = torch.stack((aside, n, -torch.linalg.cross(n, aside)), dim=1)
    batch = torch.tensor([0, 0, 0, 1, 1])
    found = net(positions, z, edges, batch=batch, structures=2, edge_rot_mat=frames)
    energy, forces = Literal(state, constructor)(z, edges, vectors, frames, batch, 2)
    torch.testing.assert_close(found.energy, energy, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(found.forces, forces, rtol=1e-9, atol=1e-12)


def test_references_of_elements_are_added_in_normalised_units():
    """OC22's option, and fairchem's averages, which stand for constants of the first repository."""
    constructor = TOY | {"use_energy_lin_ref": True, "load_energy_lin_ref": True}
    plain = create_model("equiformer_v2", **SYSTEM.arguments(TOY)[1]).eval()
    state = SYSTEM.to_official(plain.state_dict(), TOY)
    state["energy_lin_ref"] = torch.arange(9.0)
    z, positions = torch.tensor([1, 8, 6]), torch.randn(3, 3)
    edges = torch.tensor([[0, 1, 2, 0], [1, 0, 0, 2]])

    def energies(constructor, state):
        net = create_model("equiformer_v2", **SYSTEM.arguments(constructor)[1]).eval()
        net.load_state_dict(SYSTEM.to_ours(state, constructor))
        with torch.no_grad():
            return net(positions, z, edges).energy

    before = energies(TOY, {k: v for k, v in state.items() if k != "energy_lin_ref"})
    torch.testing.assert_close(energies(constructor, state), before + 1 + 8 + 6)
    one = constructor | {"avg_num_nodes": 1.0}
    torch.testing.assert_close(energies(one, state), before * 77.81317 + 15)


def official_file(path: Path, *, hydra: bool = False, averaged: bool = False, deep: int = 1):
    """A checkpoint as the official code writes it, of the published family."""
    fixture = Fixture.load(next(case for case in MODELS if case.stem.startswith("pbc_gridmlp")))
    state = fixture.parameters(torch.float32)
    names = {k: k for k in state}
    if hydra:
        heads = {"energy_block": "energy", "force_block": "forces"}
        for key in names:
            head = heads.get(key.partition(".")[0])
            names[key] = f"output_heads.{head}.{key}" if head else f"backbone.{key}"
    prefix = "module." * deep
    stored = {prefix + names[k]: v for k, v in state.items()}
    file = {"state_dict": stored, "config": {"model": "equiformer_v2"}, "epoch": 3}
    file["normalizers"] = {
        "target": {
            "mean": torch.tensor(-0.7554450631141663),
            "std": torch.tensor(2.887317180633545),
        },
        "grad_target": {"mean": torch.tensor(0.0), "std": torch.tensor(2.887317180633545)},
    }
    if averaged:
        weights = [v for k, v in stored.items() if is_weight(k)]
        file["ema"] = {"decay": 0.999, "shadow_params": [2 * v for v in weights]}
    torch.save(file, path)
    return fixture, state


def is_weight(key: str) -> bool:
    constants = ("SO3_", "mappingReduced", "expand_index", "balance_degree", "expansion.offset")
    return not any(part in key for part in constants)


@pytest.mark.parametrize(("hydra", "deep"), [(False, 0), (False, 2), (True, 1)])
def test_both_layouts_of_checkpoints_are_read(tmp_path, hydra, deep):
    fixture, state = official_file(tmp_path / "best.pt", hydra=hydra, deep=deep)
    converted = from_official(tmp_path / "best.pt", "equiformer_v2", fixture.constructor)
    model = converted.model
    ours = SYSTEM.to_official(model.net.state_dict(), fixture.constructor)
    assert all(torch.equal(value, state[key]) for key, value in ours.items())
    assert float(model.energy.mean) == pytest.approx(MEAN)
    assert float(model.forces.std) == pytest.approx(STD)
    count = int(fixture.tensors["in/natoms"][0])
    positions = fixture.tensors["in/pos"][:count].float()
    numbers = fixture.tensors["in/atomic_numbers"][:count]
    with torch.no_grad():
        found = model.evaluate(positions, numbers, cell=fixture.tensors["in/cell"][0].float())
    # the default frames on a grid of 10: to the spread that random ones have
    expected = fixture.tensors["out/energy"][:1] * STD + MEAN
    torch.testing.assert_close(found.energy.double(), expected, rtol=0, atol=1e-4)


def test_averaged_weights_are_taken(tmp_path):
    fixture, state = official_file(tmp_path / "last.pt", averaged=True)
    model = from_official(tmp_path / "last.pt", "equiformer_v2", fixture.constructor).model
    ours = SYSTEM.to_official(model.net.state_dict(), fixture.constructor)
    assert all(torch.equal(value, 2 * state[key]) for key, value in ours.items())


def test_a_converted_model_is_saved_loaded_and_written_back(tmp_path):
    from surform.hub.loading import load_model

    fixture, state = official_file(tmp_path / "best.pt")
    model = from_official(tmp_path / "best.pt", "equiformer_v2", fixture.constructor).model
    loaded = load_model(model.save_pretrained(tmp_path / "saved"))
    positions, numbers = fixture.tensors["in/pos"][:4].float(), torch.tensor([1, 2, 3, 4])
    with torch.no_grad():
        before, after = (m.evaluate(positions, numbers) for m in (model, loaded))
    assert torch.equal(before.forces, after.forces)
    folder = to_official(model, "equiformer_v2", tmp_path / "official")
    written = torch.load(folder / "weights.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[key]) for key, value in written.items())


def test_a_conservative_network_takes_the_weights_of_a_direct_one(tmp_path):
    fixture, _ = official_file(tmp_path / "best.pt")
    options = {"forces": "conservative", "envelope": 5}
    converted = from_official(
        tmp_path / "best.pt", "equiformer_v2", fixture.constructor, options=options
    )
    reasons = set(converted.accounting.dropped.values())
    assert "forces are asked for as the gradient of the energy, or not at all" in reasons
    positions, numbers = fixture.tensors["in/pos"][:4].float(), torch.tensor([1, 2, 3, 4])
    found = converted.model.evaluate(positions, numbers)
    assert float(found.forces.detach().sum(0).abs().max()) < 1e-4
    with pytest.raises(ValueError, match="no counterpart of forces = 'conservative' and envelope"):
        SYSTEM.describe(converted.model.net)


def test_the_official_code_has_600_gaussians():
    with pytest.raises(ValueError, match="no counterpart of basis = 16"):
        SYSTEM.describe(create_model("equiformer_v2", dim=8, depth=1, lmax=1, mmax=1, basis=16))


@pytest.mark.parametrize(
    ("constructor", "message"),
    [
        ({"num_layer": 3}, "EquiformerV2 takes no num_layer"),
        ({"use_s2_act_attn": True}, "use_s2_act_attn = True is not supported"),
        ({"lmax_list": [4, 6]}, "lmax_list holds 2 resolutions"),
        ({"distance_function": "bessel"}, "distance_function 'bessel' is not supported"),
    ],
)
@pytest.mark.fault
def test_wrong_arguments_are_named(constructor, message):
    with pytest.raises(ValueError, match=message):
        SYSTEM.arguments(constructor)


@pytest.mark.fault
def test_files_that_do_not_fit_are_named(tmp_path):
    fixture, state = official_file(tmp_path / "a.pt", averaged=True)
    file = torch.load(tmp_path / "a.pt", weights_only=True)
    file["ema"]["shadow_params"].pop()
    torch.save(file, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"averages \d+ parameters, but its state dict holds \d+"):
        from_official(tmp_path / "b.pt", "equiformer_v2", fixture.constructor)
    with pytest.raises(ValueError, match="but not max_radius, max_neighbors and grid_resolution"):
        SYSTEM.infer(state)
    twice = {"backbone.norm.affine_weight": state["norm.affine_weight"]} | state
    with pytest.raises(ValueError, match=r"norm.affine_weight and another key are both"):
        SYSTEM.translate(twice)
