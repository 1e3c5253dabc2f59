"""Checkpoints of fairchem-core 1.x as OMat24's: backbone, heads, stress, and what they record."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from surform.atomistic.symmetric_tensors import rescaled
from surform.cli import main
from surform.hub.convert import from_official
from surform.hub.loading import load_model
from surform.hub.official.equiformer_v2 import SYSTEM
from surform.hub.official.fixture import Fixture
from surform.hub.verify import verify_case

CASE = Path(__file__).parents[1] / "golden" / "equiformer_v2_stress" / "hydra_stress"
HEADS = {
    "energy": {"module": "equiformer_v2_energy_head"},
    "forces": {"module": "equiformer_v2_force_head"},
    "stress": {
        "module": "rank2_symmetric_head", "output_name": "stress",
        "use_source_target_embedding": True, "decompose": True,
    },
}  # fmt: skip
STATISTICS = {
    "forces": (0.0, 1.5), "stress_isotropic": (-0.1, 0.2), "stress_anisotropic": (0.01, 0.05)
}  # fmt: skip


def hydra_file(path, *, heads=HEADS, backbone="equiformer_v2_backbone", averaged=False, **other):
    """What a trainer of fairchem-core 1.10 saves of the recorded network."""
    fixture = Fixture.load(CASE)
    state = {}
    for key, value in fixture.parameters(torch.float32).items():
        part, _, rest = key.partition(".")
        names = {"energy_block": f"energy.{key}", "force_block": f"forces.{key}"}
        names["stress_head"] = f"stress.{rest}"
        name = f"output_heads.{names[part]}" if part in names else f"backbone.{key}"
        state[f"module.module.{name}"] = value
    constructor = {k: v for k, v in fixture.constructor.items() if k != "stress_head"}
    model = {
        "name": "hydra", "backbone": constructor | {"model": backbone}, "heads": heads,
        "otf_graph": True, "pass_through_head_outputs": True,
    }  # fmt: skip
    file = {"state_dict": state, "config": {"model": model, "task": {}}, "amp": None, "step": 7}
    references = torch.arange(100.0, dtype=torch.float64) - 40
    file["elementrefs"] = {"energy": {"element_references": references}}
    file["normalizers"] = {
        name: {"mean": torch.tensor(mean), "rmsd": torch.tensor(spread)}
        for name, (mean, spread) in STATISTICS.items()
    }
    if averaged:
        file["ema"] = {"decay": 0.999, "shadow_params": [2 * value for value in state.values()]}
    torch.save(file | other, path)
    return fixture


def test_the_recorded_stress_and_its_gradients():
    for dtype in (torch.float64, torch.float32):
        report = verify_case(Fixture.load(CASE), dtype)
        assert report.problem == ""
        assert report.passed, [row for row in report.rows if not row.passed]
        assert "out/stress" in {row.name for row in report.rows}


def test_everything_is_read_from_the_checkpoint(tmp_path):
    """Constructor, kind of neighbours, and statistics of each output, with no argument given."""
    fixture = hydra_file(tmp_path / "best.pt")
    model = from_official(tmp_path / "best.pt", "equiformer_v2").model.double()
    assert model.net.cutoff == fixture.constructor["max_radius"]
    assert model.net.average_atoms == fixture.constructor["avg_num_nodes"]
    assert model.tolerant
    inputs = fixture.inputs(torch.float64)
    cell = inputs["cell"].detach()[inputs["batch"][inputs["edge_index"][1]]]
    with torch.no_grad():
        found = model(
            inputs["pos"], inputs["atomic_numbers"], inputs["edge_index"],
            (inputs["cell_offsets"].double()[:, None] @ cell)[:, 0], batch=inputs["batch"],
            structures=2, edge_rot_mat=inputs["edge_rot_mat"],
        )  # fmt: skip
    recorded = fixture.tensors
    # the file holds float32
    numbers = inputs["atomic_numbers"].double() - 40
    references = torch.zeros(2).double().index_add(0, inputs["batch"], numbers)
    expected = recorded["out/energy"] + references
    torch.testing.assert_close(found.energy, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.forces, 1.5 * recorded["out/forces"], rtol=1e-5, atol=1e-6)
    expected = rescaled(recorded["out/stress"], (0.2, -0.1), (0.05, 0.01))
    torch.testing.assert_close(found.stress, expected, rtol=1e-6, atol=1e-7)


def test_a_converted_stress_head_is_saved_and_loaded(tmp_path):
    hydra_file(tmp_path / "last.pt", averaged=True)
    command = ["convert", "--system", "equiformer_v2", str(tmp_path / "last.pt")]
    assert main([*command, str(tmp_path / "saved")]) == 0
    loaded = load_model(tmp_path / "saved")
    again = from_official(tmp_path / "last.pt", "equiformer_v2").model
    given = ([[0.0, 0.0, 0.0], [1.1, 0.4, 0.3]], [[3.5, 0, 0], [0.2, 3.4, 0], [0, 0.1, 3.6]])
    positions, cell = (torch.tensor(each) for each in given)
    with torch.no_grad():
        first, second = (
            m.evaluate(positions, torch.tensor([1, 8]), cell=cell) for m in (loaded, again)
        )
    assert first.stress.shape == (1, 3, 3)
    assert torch.equal(first.stress, second.stress)
    torch.testing.assert_close(first.stress, first.stress.transpose(1, 2))
    with pytest.raises(ValueError, match="no counterpart of stress = 'both'"):
        SYSTEM.describe(loaded.net)


def test_older_checkpoints_keep_their_constructor_in_other_places(tmp_path):
    fixture = hydra_file(tmp_path / "a.pt")
    attributes = {k: v for k, v in fixture.constructor.items() if k != "stress_head"}
    flat = {k: v for k, v in torch.load(tmp_path / "a.pt")["state_dict"].items()
            if "stress" not in k}  # fmt: skip
    for config in (
        {"model": "equiformer_v2", "model_attributes": attributes},
        {"model": {"name": "equiformer_v2"} | attributes},
    ):
        hydra_file(tmp_path / "b.pt", config=config, state_dict=flat)
        model = from_official(tmp_path / "b.pt", "equiformer_v2").model
        assert model.net.cutoff == fixture.constructor["max_radius"]
        assert model.net.stress_head is None


def test_forces_as_a_gradient_take_no_stress_head(tmp_path):
    hydra_file(tmp_path / "best.pt")
    made = from_official(
        tmp_path / "best.pt", "equiformer_v2", options={"forces": "conservative", "envelope": 5}
    )
    assert made.model.net.stress_head is None
    assert any(
        "takes the place of a stress head" in why for why in made.accounting.dropped.values()
    )
    positions = torch.tensor([[0.0, 0.0, 0.0], [1.1, 0.4, 0.3]])
    assert made.model.evaluate(positions, torch.tensor([1, 8])).virial.shape == (1, 3, 3)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "fairchem.core.EqV2DeNSBackbone"}, "backbone is fairchem.core.EqV2DeNSBack"),
        ({"heads": {"s": {"extensive": True}}}, "head s has extensive = True: only False is read"),
        ({"heads": {"e": {"reduce": "mean"}}}, "head e has reduce = 'mean': only sum is read"),
        ({"config": {}}, "but not max_radius, max_neighbors and grid_resolution"),
        (
            {"normalizers": {"forces": {"mean": torch.zeros(3), "rmsd": torch.ones(3)}}},
            "statistics of forces are not one number each",
        ),
    ],
)
def test_what_is_not_read_is_named(tmp_path, change, message):
    hydra_file(tmp_path / "best.pt", **change)
    with pytest.raises(ValueError, match=message):
        from_official(tmp_path / "best.pt", "equiformer_v2")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("output_heads.stress.block.r2tensor_MLP.0.weight", "only decompose = True is read"),
        ("output_heads.stress.block.scalar_MLP.4.weight", r"1 unknown: stress_head.block.scalar"),
        ("backbone.force_embedding.weight", "1 unknown: force_embedding.weight"),
    ],
)
def test_keys_of_other_networks_are_named(tmp_path, key, message):
    hydra_file(tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt")["state_dict"]
    state[f"module.module.{key}"] = torch.zeros(1)
    hydra_file(tmp_path / "b.pt", state_dict=state)
    with pytest.raises(ValueError, match=message):
        from_official(tmp_path / "b.pt", "equiformer_v2")
    del state[f"module.module.{key}"], state["module.module.backbone.norm.affine_weight"]
    hydra_file(tmp_path / "c.pt", state_dict=state)
    with pytest.raises(ValueError, match=r"1 missing: norm.affine_weight"):
        from_official(tmp_path / "c.pt", "equiformer_v2")
