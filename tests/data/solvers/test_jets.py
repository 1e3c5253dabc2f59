"""Generated jets: their density is the one that is told, and no classifier is better."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from surform.data.fields import open_fields
from surform.data.solvers.generate import generate
from surform.data.solvers.jets import jets
from surform.data.solvers.jets_density import CLASSES, jet_classes
from surform.data.solvers.samples import Samples


def made(count: int = 1024, seed: int = 0, **options):
    found = jets(Samples(range(count), seed), **options)
    return {name: field.values for name, field in found.fields.items()}


def coordinates(found):
    """log(pT), eta, phi; and how many particles there are."""
    count = (found["pt"] > 0).sum(1)
    log_pt = torch.where(found["pt"] > 0, found["pt"], torch.ones(())).log()
    return torch.stack((log_pt, found["eta_rel"], found["phi_rel"]), -1), count


def literal(jet_class, x, most):
    """Of one jet: the sum over views of the product over particles, term by term."""
    counts = [jet_class.mean**n / math.factorial(n) for n in range(1, most + 1)]
    total = 0.0
    for centers in jet_class.center.tolist():
        product = 1.0
        for log_pt, eta, phi in x.tolist():
            product *= sum(
                weight
                * math.exp(-(((log_pt - mean) / spread) ** 2) / 2)
                / (spread * math.sqrt(2 * math.pi))
                * math.exp(-((eta - a) ** 2 + (phi - b) ** 2) / (2 * width**2))
                / (2 * math.pi * width**2)
                for weight, (a, b), width, mean, spread in zip(
                    jet_class.weight.tolist(),
                    centers,
                    jet_class.width.tolist(),
                    jet_class.log_pt.tolist(),
                    jet_class.spread.tolist(),
                    strict=True,
                )
            )
        total += product
    return math.log(counts[len(x) - 1] / sum(counts) * total / len(jet_class.center))


def test_the_density_is_the_sum_over_views_of_products_over_particles():
    found = made(4, particles=9, turns=5)
    x, count = coordinates(found)
    for number, each in enumerate(jet_classes(5)):
        wanted = [literal(each, jet[:n], 9) for jet, n in zip(x, count.tolist(), strict=True)]
        given = found["log_density"][:, number]
        torch.testing.assert_close(
            given, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("number", range(len(CLASSES)))
def test_the_density_of_one_particle_integrates_to_one(number):
    log_pt = torch.linspace(-4, 9, 53, dtype=torch.float64)
    place = torch.linspace(-1.2, 1.2, 61, dtype=torch.float64)
    x = torch.cartesian_prod(log_pt, place, place)[:, None]
    cell = (log_pt[1] - log_pt[0]) * (place[1] - place[0]) ** 2
    density = jet_classes(2)[number].log_density(x, torch.ones(len(x), dtype=torch.int64), 1)
    assert float(density.exp().sum() * cell) == pytest.approx(1, abs=1e-3)


def test_jets_are_drawn_from_the_density_that_is_told():
    """The mean over jets of a class of the ratio to another density is 1; chances are shares."""
    found = made(3000, particles=12, turns=6)
    density, label = found["log_density"], found["label"].long()
    for own, other in ((0, 1), (1, 0), (2, 3), (3, 2), (3, 4)):
        ratio = (density[label == own][:, other] - density[label == own][:, own]).exp()
        error = float(ratio.std() / len(ratio) ** 0.5)
        assert abs(float(ratio.mean()) - 1) < 4 * error + 0.02
    chance = density.softmax(1)
    for name in range(len(CLASSES)):
        mean, share = float(chance[:, name].mean()), float((label == name).double().mean())
        assert abs(mean - share) < 0.02


def test_particles_are_sorted_and_padded():
    found = made(200, particles=10)
    pt = found["pt"]
    assert bool((pt[:, 1:] <= pt[:, :-1]).all())
    assert bool((pt[:, 0] > 0).all())
    padded = pt == 0
    assert bool(padded.any())
    assert bool((found["eta_rel"][padded] == 0).all() and (found["phi_rel"][padded] == 0).all())
    assert found["label"].unique().tolist() == [0, 1, 2, 3, 4]


def test_a_jet_is_a_function_of_seed_and_number(tmp_path):
    whole = open_fields(str(generate("jets", tmp_path / "a.zarr", 20, seed=3)))
    parts = open_fields(str(generate("jets", tmp_path / "b.h5", 12, seed=3, batch=5)))
    for name in ("pt", "eta_rel", "label"):
        assert np.array_equal(whole[name].values[:12], parts[name].values)
    np.testing.assert_allclose(
        whole["log_density"].values[:12], parts["log_density"].values, rtol=1e-6
    )
    assert whole["pt"].attrs["units"] == "GeV"
    assert not np.array_equal(made(20, 4)["pt"][:, 0].numpy(), made(20, 3)["pt"][:, 0].numpy())


@pytest.mark.fault
@pytest.mark.parametrize("name", ["particles", "turns"])
def test_jets_that_cannot_be(name):
    with pytest.raises(ValueError, match=f"{name} is 0, but it must be at least 1"):
        made(2, **{name: 0})
