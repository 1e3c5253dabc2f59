"""Hyperspectral scenes of known materials: spectra, mixing, shading and noise."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.data.solvers.checks import check_at_least
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["COVERS", "MATERIALS", "scene"]

BATCH = 1

# Reflectance at 400, 700, 1000, 1700 and 2500 nm, and absorptions (centre, width [nm], depth): what
# minerals, leaves and roofs have, after the spectral libraries of USGS and ECOSTRESS, simplified.
MATERIALS: dict[str, tuple[tuple[float, ...], tuple[tuple[float, float, float], ...]]] = {
    "grass": ((0.05, 0.08, 0.46, 0.30, 0.10), ((670, 40, 0.7), (1450, 60, 0.35), (1940, 70, 0.5))),
    "trees": ((0.04, 0.06, 0.43, 0.25, 0.08), ((670, 40, 0.75), (1450, 60, 0.4), (1940, 70, 0.55))),
    "straw": (
        (0.12, 0.24, 0.38, 0.42, 0.28),
        ((1720, 40, 0.08), (2100, 60, 0.18), (2300, 50, 0.14)),
    ),
    "loam": ((0.10, 0.20, 0.29, 0.36, 0.33), ((900, 90, 0.06), (1910, 50, 0.12), (2205, 30, 0.08))),
    "clay": ((0.15, 0.27, 0.36, 0.44, 0.38), ((900, 90, 0.05), (1910, 50, 0.16), (2205, 30, 0.22))),
    "limestone": ((0.22, 0.32, 0.38, 0.43, 0.39), ((1910, 50, 0.08), (2340, 35, 0.20))),
    "asphalt": ((0.08, 0.11, 0.13, 0.16, 0.17), ((2310, 60, 0.05),)),
    "tiles": ((0.08, 0.25, 0.33, 0.40, 0.37), ((530, 50, 0.2), (870, 80, 0.12))),
    "water": ((0.08, 0.03, 0.01, 0.005, 0.003), ()),
}
_NODES = (400.0, 700.0, 1000.0, 1700.0, 2500.0)
_AIR = ((1380.0, 45.0), (1880.0, 55.0))  # absorption of air's water: little light, much noise

# Covers: the materials of their ground, and how they lie: what the labels tell.
COVERS: dict[str, tuple[tuple[str, float], ...]] = {
    "meadow": (("grass", 0.8), ("straw", 0.1), ("loam", 0.1)),
    "forest": (("trees", 0.85), ("grass", 0.15)),
    "orchard": (("trees", 0.45), ("grass", 0.45), ("loam", 0.1)),
    "stubble": (("straw", 0.6), ("loam", 0.4)),
    "loam field": (("loam", 0.75), ("straw", 0.15), ("clay", 0.1)),
    "clay field": (("clay", 0.5), ("loam", 0.4), ("straw", 0.1)),
    "quarry": (("limestone", 0.8), ("clay", 0.2)),
    "road": (("asphalt", 0.8), ("loam", 0.2)),
    "settlement": (("tiles", 0.4), ("asphalt", 0.35), ("grass", 0.25)),
    "water": (("water", 0.95), ("loam", 0.05)),
}


def scene(
    samples: Samples,
    *,
    size: int = 96,
    bands: int = 64,
    fields: int = 60,
    unlabelled: float = 0.1,
    mixing: float = 0.8,
    variation: float = 0.35,
    shading: float = 0.25,
    noise: float = 0.02,
) -> Solution:
    """Reflectance of a country side of ten covers from 400 to 2500 nm, with its label map.

    Fields with straight borders are covered by mixtures of nine materials with absorption bands:
    water and cellulose of plants, iron, clay and carbonate of grounds. The shares vary from place
    to place, most in small spots; the sensor blurs neighbours into each other; slopes and shadows
    dim all bands alike; air takes most light near 1380 and 1880 nm. Which covers, materials and
    shares there are is in the file: `labels` (0 where a pixel lies at a border), `shares`,
    `materials`.

    Args:
        size: rows and columns.
        bands: of the spectra.
        fields: how many fields the covers lie in.
        unlabelled: share of the pixels, those next to borders, that have no label.
        mixing: width of the sensor's blur [pixels].
        variation: how much the shares of materials in a cover vary.
        shading: how much slopes and shadows dim.
        noise: of the sensor, deviation of reflectance; more where there is little light.
    """
    check_at_least(8, size=size, bands=bands)
    check_at_least(len(COVERS), fields=fields)
    check_at_least(0, mixing=mixing, variation=variation, shading=shading, noise=noise)
    if not 0 <= unlabelled < 1:
        raise ValueError(f"unlabelled is {unlabelled}, but it must be a share, at least 0 below 1")
    waves = torch.linspace(400, 2500, bands, dtype=torch.float64)
    spectra = torch.stack([_spectrum(*of, waves) for of in MATERIALS.values()])
    cover, depth = _fields(samples, size, fields)
    shares = _shares(samples, cover, size, variation)
    shares = _blurred(shares, mixing)
    light = _light(samples, size, shading)
    cube = torch.einsum("bmrc,mk->brck", shares * light[:, None], spectra.to(shares))
    dark = sum(torch.exp(-(((waves - at) / width) ** 2)) for at, width in _AIR)
    level = noise * (1 + 8 * torch.as_tensor(dark)).to(cube)
    cube = (cube + level * samples.normal(size, size, bands)).clamp(min=0)
    border = depth.flatten(1).quantile(unlabelled, 1) if unlabelled else torch.zeros(len(depth))
    labels = torch.where(depth <= border.to(depth)[:, None, None], 0, cover + 1)
    whole = spectra.expand(len(samples), -1, -1)
    return Solution(
        fields={
            "cube": _field(cube, ("row", "column", "wavelength"), "reflectance", samples),
            "labels": _field(labels, ("row", "column"), _numbered(COVERS), samples),
            "shares": _field(
                shares.movedim(1, -1), ("row", "column", "material"), "shares", samples
            ),
            "materials": _field(whole, ("material", "wavelength"), _numbered(MATERIALS), samples),
        },
        axes={
            "row": Axis(torch.arange(size), "row"),
            "column": Axis(torch.arange(size), "column"),
            "wavelength": Axis(waves, "wavelength", units="nm"),
            "material": Axis(torch.arange(len(MATERIALS)), "material"),
        },
    )


def _spectrum(
    levels: tuple[float, ...], absorptions: tuple[tuple[float, float, float], ...], waves: Tensor
) -> Tensor:
    """Straight lines between the nodes, less the absorptions."""
    nodes, values = torch.tensor(_NODES).to(waves), torch.tensor(levels).to(waves)
    right = torch.searchsorted(nodes, waves).clamp(1, len(nodes) - 1)
    share = (waves - nodes[right - 1]) / (nodes[right] - nodes[right - 1])
    found = values[right - 1] + share * (values[right] - values[right - 1])
    for centre, width, depth in absorptions:
        found = found * (1 - depth * torch.exp(-(((waves - centre) / width) ** 2)))
    return found


def _fields(samples: Samples, size: int, fields: int) -> tuple[Tensor, Tensor]:
    """(B, rows, columns): cover of each pixel, and how far it lies from its field's border."""
    centres = samples.uniform(0, size, fields, 2)
    order = samples.uniform(0, 1, fields).argsort(1) % len(COVERS)  # all covers, alike often
    grid = torch.stack(torch.meshgrid(*2 * [torch.arange(size).to(centres)], indexing="ij"), -1)
    near = torch.cdist(grid.reshape(1, -1, 2).expand(len(centres), -1, -1), centres)
    closest = near.topk(2, dim=-1, largest=False)
    cover = order.gather(1, closest.indices[..., 0]).unflatten(1, (size, size))
    depth = (closest.values[..., 1] - closest.values[..., 0]).unflatten(1, (size, size))
    return cover, depth


def _shares(samples: Samples, cover: Tensor, size: int, variation: float) -> Tensor:
    """(B, materials, rows, columns): those of the cover, changed from place to place."""
    names = list(MATERIALS)
    mean = torch.zeros(len(COVERS), len(names), dtype=torch.float64)
    for place, parts in enumerate(COVERS.values()):
        for name, share in parts:
            mean[place, names.index(name)] = share
    spots = samples.normal(len(names), size, size)
    wide = _blurred(samples.normal(len(names), size, size), 4.0) * 8
    exponent = variation * (2.0 * spots + wide)
    weight = mean.to(spots)[cover].movedim(-1, 1) * torch.exp(exponent)
    return weight / weight.sum(1, keepdim=True)


def _light(samples: Samples, size: int, shading: float) -> Tensor:
    """(B, rows, columns): what slopes and shadows leave, 1 in the mean."""
    slope = _blurred(samples.normal(1, size, size), 6.0)[:, 0] * 15
    grain = samples.normal(size, size)
    return torch.exp(shading * (slope + 0.6 * grain) - 0.5 * shading**2)


def _blurred(x: Tensor, width: float) -> Tensor:
    """(B, C, rows, columns) under a Gaussian of this deviation [pixels]."""
    if width == 0:
        return x
    reach = max(1, round(3 * width))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(x) / width) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    for axis in (2, 3):
        moved = x.movedim(axis, -1)
        padded = torch.nn.functional.pad(moved, (reach, reach, 0, 0), mode="replicate")
        across = torch.nn.functional.conv2d(padded, kernel[:, :, None], groups=x.shape[1])
        x = across.movedim(-1, axis)
    return x


def _field(values: Tensor, axes: tuple[str, ...], long_name: str, samples: Samples) -> Field:
    return Field(values.to(samples.device, samples.dtype), axes, long_name)


def _numbered(names: object) -> str:
    return ", ".join(f"{place} {name}" for place, name in enumerate(list(names), start=1))  # type: ignore[call-overload]
