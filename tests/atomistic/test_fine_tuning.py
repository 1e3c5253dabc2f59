"""Potentials that begin with the weights of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from surform.atomistic.fine_tuning import begin_with
from surform.atomistic.potential import Potential
from surform.data.normalizers import Normalizer
from surform.hub.convert import to_official
from tests.atomistic.atoms_toy import ToyAtoms, describe, small_net


def potential(energy: float = 0.8, force: float = 2.0, **options: Any) -> Potential:
    model = Potential(small_net(**options))
    model.fit_to(
        describe(),
        Normalizer(torch.tensor(-1.5), torch.tensor(energy)),
        Normalizer(torch.tensor(0.0), torch.tensor(force)),
    )
    return model.eval()


def shaken(**options: Any) -> Potential:
    """One whose weights are not those that a seed gives."""
    model = potential(**options)
    with torch.no_grad():
        for number, weight in enumerate(model.net.parameters()):
            weight.add_(
                0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
            )
    return model


def test_forces_and_energies_begin_as_the_source_gives_them_in_units_of_the_data():
    source, model = shaken(), potential(energy=0.2, force=0.5, average_atoms=6.0)
    report = begin_with(model, source)
    batch = ToyAtoms(3, 1).batch([0, 1, 2])
    ours, theirs = model.of_batch(batch), source.of_batch(batch)
    torch.testing.assert_close(ours.forces, theirs.forces, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.energy, theirs.energy, rtol=0, atol=1e-4)
    assert not report.fresh
    assert not report.unused
    assert (
        report.changed["force_head.proj.weight"] == "scaled by 4 to the statistics of the new data"
    )
    assert float(model.forces.std) == 0.5


def test_tables_of_more_elements_keep_their_own_rows_for_the_others():
    source, model = shaken(elements=9), potential(elements=20)
    own = model.net.atoms.weight.detach().clone()
    report = begin_with(model, source)
    assert torch.equal(model.net.atoms.weight[:9], source.net.atoms.weight)
    assert torch.equal(model.net.atoms.weight[9:], own[9:])
    assert report.changed["atoms.weight"] == "elements 0 to 8 are those of the source"
    batch = ToyAtoms(3, 1).batch([0, 1, 2])
    torch.testing.assert_close(model.of_batch(batch).forces, source.of_batch(batch).forces)
    smaller = potential(elements=9)
    begin_with(smaller, model)
    torch.testing.assert_close(smaller.of_batch(batch).forces, source.of_batch(batch).forces)


def test_a_network_of_other_kind_takes_what_fits_and_says_what_means_something_else(tmp_path: Path):
    source = shaken()
    source.save_pretrained(tmp_path / "model")
    model = Potential(small_net(forces="conservative", envelope=5, cutoff=3.5))
    model.fit_to(describe(), *ToyAtoms(1, 1).normalizers())
    report = begin_with(model, tmp_path)  # as a run folder
    assert all(name.startswith("force_head.") for name in report.unused)
    assert report.changed["(net.cutoff)"].startswith("4.0 in the source, 3.5 here")
    assert "(net.envelope)" in report.changed
    assert torch.equal(model.net.norm.weight, source.net.norm.weight)


def test_an_official_checkpoint_of_a_network_of_the_same_sizes(tmp_path: Path):
    source = shaken(max_neighbors=20, elements=30)
    to_official(source, "equiformer_v2", tmp_path / "official")
    model = potential(elements=20, max_neighbors=None, forces="direct")
    report = begin_with(model, tmp_path / "official" / "weights.pth")
    assert not report.fresh
    assert torch.equal(model.net.norm.weight, source.net.norm.weight)
    assert torch.equal(model.net.atoms.weight, source.net.atoms.weight[:20])


def test_a_head_for_stresses_keeps_the_statistics_of_the_source():
    source, model = shaken(stress="both"), potential(stress="both")
    source.fit_stress({"stress_isotropic_mean": 0.1, "stress_isotropic_std": 0.2})
    begin_with(model, source)
    batch = ToyAtoms(2, 1).batch([0, 1])
    torch.testing.assert_close(model.of_batch(batch).stress, source.of_batch(batch).stress)


@pytest.mark.fault
def test_sources_that_are_no_potential(tmp_path: Path):
    from surform.vision.cct import CCT
    from surform.vision.classifier import ImageClassifier

    model = potential()
    net = CCT(image_size=8, num_classes=2, dim=8, depth=1, heads=1, in_channels=1)
    with pytest.raises(ValueError, match="ImageClassifier, but must be a potential of atoms"):
        begin_with(model, ImageClassifier(net))  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="no model"):
        begin_with(model, tmp_path / "nothing")
