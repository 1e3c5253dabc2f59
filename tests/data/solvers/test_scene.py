"""Generated scenes: what is in them is what the file says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surform.data.solvers.samples import Samples
from surform.data.solvers.scene import COVERS, MATERIALS, scene

SMALL = {"size": 24, "bands": 40, "fields": 12}


def made(seed: int = 0, indices: range = range(2), **options):
    return scene(Samples(indices, seed), **SMALL | options)


def test_spectra_are_mixed_from_the_materials_and_dimmed_alike() -> None:
    fields = made(noise=0.0).fields
    mixed = fields["shares"].values @ fields["materials"].values[:, None]
    light = fields["cube"].values / mixed
    torch.testing.assert_close(light, light[..., :1].expand_as(light))
    assert light.std() > 0.1
    bright = made(noise=0.0, shading=0.0).fields["cube"].values
    torch.testing.assert_close(bright, mixed)


def test_shares_add_up_to_one_and_covers_have_their_own_material() -> None:
    fields = made(variation=0.0, mixing=0.0).fields
    shares, labels = fields["shares"].values, fields["labels"].values
    torch.testing.assert_close(shares.sum(-1), torch.ones_like(shares[..., 0]))
    assert set(labels.unique().tolist()) == set(range(len(COVERS) + 1))
    for number, parts in enumerate(COVERS.values(), start=1):
        own = shares[labels == number]
        for name, share in parts:
            assert own[:, list(MATERIALS).index(name)].mean() == pytest.approx(share)


@pytest.mark.parametrize(("name", "place"), [("clay", 2205), ("limestone", 2340), ("grass", 670)])
def test_materials_absorb_where_they_are_known_to(name: str, place: float) -> None:
    solution = made(bands=211)
    spectrum = solution.fields["materials"].values[0, list(MATERIALS).index(name)]
    waves = solution.axes["wavelength"].values
    at = int((waves - place).abs().argmin())
    assert spectrum[at] < 0.9 * spectrum[[at - 10, at + 10]].min()


def test_noise_has_the_deviation_that_is_asked_for_away_from_air() -> None:
    clean, noisy = (made(noise=x, unlabelled=0.0).fields["cube"].values for x in (0.0, 0.02))
    bright = clean > 0.15  # reflectance is never negative: dark pixels lose part of their noise
    waves = made().axes["wavelength"].values
    still = ((waves - 1380).abs() > 150) & ((waves - 1880).abs() > 150)
    found = (noisy - clean)[..., still][bright[..., still]].std()
    assert found == pytest.approx(0.02, rel=0.05)


def test_unlabelled_pixels_are_those_next_to_borders() -> None:
    labels = made(unlabelled=0.25).fields["labels"].values
    assert (labels == 0).double().mean() == pytest.approx(0.25, abs=0.01)
    assert (made(unlabelled=0.0).fields["labels"].values > 0).double().mean() > 0.99


def test_a_scene_is_a_function_of_seed_and_number() -> None:
    both, second = made(), made(indices=range(1, 2))
    for name, field in both.fields.items():
        np.testing.assert_array_equal(field.values[1], second.fields[name].values[0])
    assert not torch.equal(both.fields["cube"].values[0], both.fields["cube"].values[1])


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "size is 4, but it must be at least 8"),
        ({"fields": 5}, "fields is 5, but it must be at least 10"),
        ({"noise": -0.1}, "noise is -0.1, but it must be at least 0"),
        ({"unlabelled": 1.0}, "unlabelled is 1.0, but it must be a share"),
    ],
)
def test_scenes_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**options)
