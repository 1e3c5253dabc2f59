"""Training of potentials: losses, figures, what is unknown, resuming, averages, groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch.optim import AdamW

import surform
from surform.atomistic.energy_forces import AtomsPrediction, EnergyForces
from surform.atomistic.symmetric_tensors import components
from surform.atomistic.without_effect import without_effect
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.logger import MetricsLogger
from surform.training.parameter_groups import decay_groups
from surform.training.run_folder import RunFolder
from surform.training.schedules import WholeCosine
from tests.atomistic.atoms_toy import REFERENCES, ToyAtoms, small_net
from tests.atomistic.atoms_training import NAN, fit, some, task


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


def test_the_loss_is_a_weighted_sum_of_means_over_what_counts():
    made, batch = some()
    atoms = torch.bincount(batch.batch)
    free = torch.arange(len(batch.numbers)) % 3 > 0
    batch = replace(batch, free=free)
    off = made.forces - made.force_target
    l2mae = off[free].norm(dim=1).mean()
    e = made.output - made.target
    torch.testing.assert_close(EnergyForces(2, 100)(made, batch), 2 * e.abs().mean() + 100 * l2mae)
    per_atom = EnergyForces(2.5, 20, energy_term="per_atom")(made, batch)
    torch.testing.assert_close(per_atom, 2.5 * (e.abs() / atoms).mean() + 20 * l2mae)
    huber = EnergyForces(1, 0, energy_term="huber", delta=0.5)(made, batch)
    torch.testing.assert_close(huber, torch.nn.functional.huber_loss(
        made.output, made.target, delta=0.5))  # fmt: skip
    # of a stress: its trace, and what is left of it, both with their lengths
    whole = EnergyForces(0, 0, 5)(made, batch)
    d = made.stress - made.stress_target
    isotropic = d.diagonal(dim1=1, dim2=2).sum(1) / 3**0.5
    torch.testing.assert_close(components(d)[0], isotropic)
    lengths = isotropic.square() + components(d)[1].square().sum(1)
    torch.testing.assert_close(lengths, d.square().sum((1, 2)))
    expected = 5 * (isotropic.abs() + components(d)[1].abs().mean(1)).mean()
    torch.testing.assert_close(whole, expected)


def test_what_is_unknown_is_left_out_of_losses_and_their_gradients():
    made, batch = some()
    outputs = [made.output.requires_grad_(), made.forces.requires_grad_()]
    target, force_target = made.target.clone(), made.force_target.clone()
    target[1], force_target[2, 1] = NAN, NAN
    partly = replace(made, target=target, force_target=force_target)
    loss = EnergyForces(1, 3)(partly, batch)
    loss.backward()
    off = (made.forces - made.force_target)[torch.arange(len(batch.numbers)) != 2]
    e = (made.output - made.target)[[0, 2]]
    torch.testing.assert_close(loss, e.abs().mean() + 3 * off.norm(dim=1).mean())
    for output, unknown in zip(outputs, (1, 2), strict=True):
        assert output.grad.isfinite().all()
        assert (output.grad[unknown] == 0).all()
        assert (output.grad[0] != 0).all()


@pytest.mark.fault
def test_a_batch_without_anything_to_learn_from():
    made, batch = some()
    blank = replace(made, target=made.target * NAN, force_target=made.force_target * NAN)
    with pytest.raises(ValueError, match="none of the 3 structures of a batch has energy or force"):
        EnergyForces()(blank, batch)
    with pytest.raises(ValueError, match="has energy to learn from"):
        EnergyForces(1, 0)(replace(made, target=made.target * NAN), batch)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energy": -1.0}, "the weight of energy is -1.0, but must be 0 or positive"),
        ({"energy": 0.0, "forces": 0.0}, "all 0: nothing is learnt"),
        ({"energy_term": "per-atom"}, "did you mean 'per_atom'"),
        ({"delta": 0.0}, "delta is 0.0, but must be positive"),
    ],
)
def test_losses_that_cannot_be(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        EnergyForces(**options)


@pytest.mark.fault
def test_metrics_and_weights_that_the_network_cannot_have(tmp_path: Path):
    with pytest.raises(ValueError, match="force_mae is not measured: the network has forces='non"):
        task(small_net(forces="none"), metrics=["energy_mae", "force_mae"])
    with pytest.raises(ValueError, match=r"stress_mae is not measured: .* forces='direct'"):
        task(metrics=["force_mae", "stress_mae"])
    with pytest.raises(ValueError, match="unknown metric 'mae': choose from energy_mae"):
        task(metrics=["mae"])
    with pytest.raises(ValueError, match="reference of element 8, but this network knows 0 to 6"):
        fit(tmp_path, task(small_net(elements=7)))


@pytest.mark.fault
def test_data_that_lack_what_is_to_be_learnt(tmp_path: Path):
    class Bare(ToyAtoms):
        def description(self) -> Any:
            return replace(super().description(), labels=("energy",))

    with pytest.raises(
        ValueError, match=r"no forces, but force_mae is to choose .* model.net.forc"
    ):
        fit(tmp_path, task(), Bare())
    with pytest.raises(
        ValueError, match="the loss is of forces, but the data give energy: nothing"
    ):
        fit(tmp_path, task(loss=EnergyForces(0, 1)), Bare())
    module = task(small_net(depth=1, forces="none"), loss=EnergyForces(1, 0))
    run = fit(tmp_path, module, Bare())
    assert "validation/energy_mae/clean" in run.callback_metrics
    assert "validation/force_mae/clean" not in run.callback_metrics


def test_figures_are_those_of_the_whole_split_however_it_is_cut(tmp_path: Path):
    """10 structures of 2 to 5 atoms in batches of 4, 4 and 2; some atoms are held fixed."""

    def change(structure: Any) -> Any:
        free = np.arange(len(structure)) != 0
        forces = structure.forces if structure.energy > -3000 else structure.forces * NAN
        return replace(structure, free=free, forces=forces)

    source = ToyAtoms(change=change)
    module = task()
    run = fit(tmp_path, module, source, max_epochs=2)
    found = run.callback_metrics
    batch = source.batch(range(24, 34))
    with torch.no_grad():
        out = module.surrogate.of_batch(batch)
    known = batch.forces.isfinite().all(1)
    counted = known & batch.free
    assert 0 < counted.sum() < known.sum() < len(known)
    e, atoms = (out.energy - batch.energy).abs(), torch.bincount(batch.batch)
    d = (out.forces - batch.forces)[counted]
    whole = [bool(known[batch.batch == n].all()) for n in range(10)]
    off = [(out.forces - batch.forces)[(batch.batch == n) & batch.free].abs() for n in range(10)]
    near = [bool(e[n] < 0.02 and off[n].max() < 0.03) for n in range(10) if whole[n]]
    cosine = torch.nn.functional.cosine_similarity(out.forces[counted], batch.forces[counted])
    expected = {
        "energy_mae": e.mean(),
        "energy_mae_per_atom": (e / atoms).mean(),
        "force_mae": d.abs().mean(),
        "force_rmse": d.square().mean().sqrt(),
        "force_cosine": cosine.mean(),
        "efwt": sum(near) / len(near),
        "loss": e.mean() / 0.8 + 10 * d.norm(dim=1).mean() / 2,
    }
    for name, value in expected.items():
        assert float(found[f"validation/{name}/clean"]) == pytest.approx(float(value), rel=1e-4)
    profiles = module.profiles["validation"]
    oxygen = counted & (batch.numbers == 8)
    error = (out.forces - batch.forces)[oxygen].abs().mean()
    assert profiles["force_error"][8] / profiles["share_of_element"][8] == pytest.approx(
        float(error), rel=1e-4
    )


def test_structures_near_enough_count_as_such():
    from surform.atomistic.energy_scores import figures

    _, batch = some()
    energy, forces = batch.energy.clone(), batch.forces.clone()
    energy[0] += 0.019
    energy[1] += 0.021
    last = int((batch.batch == 2).nonzero()[0])
    forces[last, 1] += 0.029
    made = AtomsPrediction(energy, batch.energy, forces=forces, force_target=batch.forces)
    assert figures(made, batch)["efwt"].tolist() == [1, 0, 1]
    forces[last, 1] += 0.002
    assert figures(made, batch)["efwt"].tolist() == [1, 0, 0]


# -- training --------------------------------------------------------------------------------


def test_training_learns(tmp_path: Path):
    module = task(schedule=WholeCosine(warmup=0.05))
    source = ToyAtoms(40)
    run = fit(tmp_path, module, source, max_epochs=6, check_val_every_n_epoch=6)
    figures = run.callback_metrics
    zero = source.batch(range(40, 50)).forces.abs().mean()
    assert float(figures["validation/force_mae/clean"]) < 0.4 * zero
    assert float(figures["validation/force_cosine/clean"]) > 0.8


def test_a_conservative_network_is_trained_on_the_gradient_of_its_energy(tmp_path: Path):
    """The gradient of the loss, against differences of it; in the units of the forces."""
    module = task(small_net(depth=1, forces="conservative", envelope=5).double())
    source = ToyAtoms()
    module.surrogate.double().fit_to(
        source.description(), *(n.double() for n in source.normalizers())
    )
    batch = source.batch([0, 1])
    prediction, loss = module.train().training_loss(batch)
    out = module.surrogate.of_batch(batch)
    torch.testing.assert_close(prediction.forces * 2, out.forces)
    weight = module.surrogate.net.energy_head.scalar.weight
    (slope,) = torch.autograd.grad(loss, weight)
    step = 1e-5 * slope / slope.norm()
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(sign * step)
        sides.append(float(module.training_loss(batch)[1].detach()))
        with torch.no_grad():
            weight.sub_(sign * step)
    assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(float(slope.norm()), rel=1e-5)


@pytest.mark.parametrize("kind", ["conservative", "direct"])
def test_stresses_are_trained_where_the_network_gives_them(kind: str, tmp_path: Path):
    """Chains in cells: their stress is the virial over the volume, or that of a head."""

    def change(structure: Any) -> Any:
        cell, stress = np.diag([9.0, 9.0, 9.0]), np.full((3, 3), 0.01 * len(structure))
        return replace(structure, cell=cell, pbc=np.ones(3, bool), stress=stress)

    source = ToyAtoms(12, change=change)
    options = {"forces": kind, "envelope": 5} if kind == "conservative" else {"stress": "both"}
    module = task(
        small_net(depth=1, **options),
        loss=EnergyForces(1, 10, 5),
        metrics=["force_mae", "stress_mae"],
        normalize={"stress_isotropic_mean": 0.02, "stress_isotropic_std": 0.01,
                   "stress_anisotropic_std": 0.03},
    )  # fmt: skip
    run = fit(tmp_path, module, source)
    batch = source.batch(range(12, 22))
    out = module.surrogate.of_batch(batch)
    found = out.virial / 729 if kind == "conservative" else out.stress
    off = (found - batch.stress).abs().mean()
    figures = run.callback_metrics
    assert float(figures["validation/stress_mae/clean"]) == pytest.approx(
        float(off.detach()), rel=1e-4
    )
    isotropic, rest = components(found - batch.stress)
    if kind == "direct":
        isotropic, rest = isotropic / 0.01, rest / 0.03
    loss = (isotropic.abs() + rest.abs().mean(1)).mean().detach()
    assert float(figures["validation/stress_loss/clean"]) == pytest.approx(float(loss), rel=1e-4)


def test_weights_without_effect_are_not_trained_and_all_others_are(tmp_path: Path):
    module = task(small_net())
    fit(tmp_path, module)
    net = module.surrogate.net
    frozen = {n for n, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {
        *(f"energy_head.linear1.{part}" for part in ("weight", "bias")),
        *(f"energy_head.grid_mlp.{n}.weight" for n in range(3)),
        "force_head.proj.bias",
    }
    start = small_net().state_dict()
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, start[n])}
    assert moved == {n for n, _ in net.named_parameters()} - frozen
    assert without_effect(net) == ()


def test_weights_decay_as_published():
    """Not biases nor the weights of norms; tables of elements and the vectors of scores do."""
    net = small_net(norm="rms_norm_sh")
    names = {id(p): n for n, p in net.named_parameters()}
    decayed, kept = ({names[id(p)] for p in group["params"]} for group in decay_groups(net))
    if "atoms.weight" in kept:
        decayed, kept = kept, decayed
    assert {"atoms.weight", "blocks.0.attention.scores.dot"} <= decayed
    assert all(n.endswith("bias") or ".norm" in n or n.startswith("norm") for n in kept)
    norms = {"norm.weight", "norm.bias", "blocks.0.norm1.weight"}
    norms |= {"blocks.1.attention.radial.norm1.weight", "blocks.0.feed_forward.linear1.bias"}
    assert norms <= kept


def test_the_average_looks_back_less_at_first(tmp_path: Path):
    seen: list[torch.Tensor] = []

    class Record(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            seen.append(pl_module.surrogate.net.norm.weight.detach().clone())

    start = small_net(depth=1).norm.weight.detach().clone()
    module = task(ema_decay=0.3)
    fit(tmp_path, module, callbacks=[Record()])
    average = start
    for step, weight in enumerate(seen, start=1):
        decay = min(0.3, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(module.surrogate.net.norm.weight.detach(), average)
    assert not torch.equal(seen[-1], average)


def test_the_published_schedule():
    """0.2 to 1 over the warm-up; a cosine counted from the first step, so a step down; 0.01."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = AdamW([weight], lr=2.0)
    scheduler = WholeCosine(warmup=0.1).build(optimizer, 100)
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"] / 2)
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(0.2)
    assert rates[5] == pytest.approx(0.6)
    assert rates[10] == pytest.approx(1.0)
    assert rates[11] == pytest.approx(0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * 0.11)))
    assert rates[100] == pytest.approx(0.01)


def test_a_run_leaves_a_model_with_its_references_and_a_report(tmp_path: Path):
    folder = tmp_path / "run"
    module, source = task(), ToyAtoms()
    callbacks = [RunFolder(folder), Checkpoints()]
    fit(folder, module, source, callbacks=callbacks, enable_checkpointing=True,
        logger=[MetricsLogger()])  # fmt: skip
    page = (folder / "report.html").read_text()
    for part in (
        "Predictions over the data",
        "Directions of forces",
        "force MAE [meV/Å]",
        "energy MAE",
    ):
        assert part in page
    assert len(list((folder / "plots").glob("*.png"))) == 2
    model = surform.load_model(folder / "model")
    assert model.description == source.description()
    assert model.references.energies[8] == REFERENCES[8]
    batch = source.batch([0, 24, 30])
    with torch.no_grad():
        found, expected = model.of_batch(batch), module.surrogate.of_batch(batch)
    assert torch.equal(found.energy, expected.energy)
    # thousands of eV, and no digit lost: references are added in float64
    assert found.energy.dtype == torch.float64
    normal = model.net(batch.positions, batch.numbers, batch.edge_index, batch=batch.batch,
                       structures=3).energy  # fmt: skip
    sums = model.references(batch.numbers, batch.batch, 3)
    torch.testing.assert_close(
        found.energy - sums, (normal * 0.8 - 1.5).double().detach(), rtol=0, atol=1e-6
    )
    stored = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert stored["state_dict"]["surrogate.references.energies"][1] == REFERENCES[1]


def test_references_keep_their_digits_when_a_model_is_cast():
    from surform.atomistic.potential import Potential

    model = Potential(small_net(elements=9))
    assert int(model.example_inputs()["atomic_numbers"].max()) == 8
    model.references.fit({8: -2041.123456789})
    model.to(torch.bfloat16).to(torch.float32)
    assert float(model.references.energies[8]) == -2041.123456789
    found = model.references(torch.tensor([8, 8, 1]), torch.tensor([0, 2, 2]), 3)
    assert found.tolist() == [-2041.123456789, 0.0, -2041.123456789]
