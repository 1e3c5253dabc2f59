"""Jets of particles whose densities are known, and with them the best possible classifier."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.data.solvers.checks import check_at_least
from surform.data.solvers.jets_density import JetClass, jet_classes
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["jets"]

BATCH = 256


def jets(samples: Samples, *, particles: int = 30, turns: int = 24) -> Solution:
    """Jets of five classes with the log density of each jet under every class.

    Gluon and quark jets have one prong, W and Z two, top three; classes are equally frequent. A jet
    is turned around its axis, and its prongs share its momentum, in one of finitely many ways, and
    given these its particles are independent: `log_density` is exact, and no classifier is better
    than its softmax. Particles are sorted by pT and padded with zeros. The classes resemble those
    of LHC jets in the number of their prongs, and are no simulation of them.

    Args:
        particles: most particles of a jet.
        turns: angles by which a jet may be turned.
    """
    check_at_least(1, particles=particles, turns=turns)
    classes = jet_classes(turns, samples.device)
    label = samples.integers(0, len(classes))
    x, count = _drawn(samples, classes, label, particles)
    densities = [each.log_density(x, count, particles) for each in classes]
    samples.progress(1.0)
    there = torch.arange(particles, device=x.device) < count[:, None]
    x = torch.where(there[..., None], x, x.new_zeros(()))
    pt = torch.where(there, x[..., 0].exp(), x.new_zeros(()))
    order = pt.argsort(dim=1, descending=True, stable=True)
    columns = {"pt": pt, "eta_rel": x[..., 1], "phi_rel": x[..., 2]}
    meaning = {
        "pt": ("transverse momentum", "GeV"),
        "eta_rel": ("pseudorapidity from the jet's axis", "1"),
        "phi_rel": ("azimuth from the jet's axis", "rad"),
    }
    fields = {
        name: Field(values.gather(1, order).to(samples.dtype), ("particle",), *meaning[name])
        for name, values in columns.items()
    }
    fields["label"] = Field(label.to(samples.dtype), (), "number of the class")
    density = torch.stack(densities, 1).to(samples.dtype)
    fields["log_density"] = Field(density, ("jet_class",), "log density under each class")
    numbers = {"particle": particles, "jet_class": len(classes)}
    return Solution(
        fields=fields,
        axes={n: Axis(torch.arange(k), n.replace("_", " ")) for n, k in numbers.items()},
    )


def _drawn(
    samples: Samples, classes: list[JetClass], label: Tensor, most: int
) -> tuple[Tensor, Tensor]:
    """log(pT), eta and phi (b, most, 3), and how many particles count; all jets at once."""
    chance, view, kind = (samples.uniform(0, 1, *shape) for shape in ((1,), (1,), (most,)))
    noise = samples.normal(most, 3)
    x, count = torch.empty_like(noise), torch.empty_like(label)
    for number, each in enumerate(classes):
        own = (label == number).nonzero().squeeze(1)
        count[own] = 1 + torch.searchsorted(
            each.log_counts(most).exp().cumsum(0)[:-1].contiguous(), chance[own, 0]
        )
        views = len(each.center)
        seen = each.center[(view[own, 0] * views).long().clamp(max=views - 1)]  # (j, k, 2)
        kinds = torch.searchsorted(each.weight.cumsum(0)[:-1].contiguous(), kind[own])
        center = seen.gather(1, kinds[..., None].expand(-1, -1, 2))
        log_pt = each.log_pt[kinds] + each.spread[kinds] * noise[own, :, 0]
        place = center + each.width[kinds][..., None] * noise[own, :, 1:]
        x[own] = torch.cat((log_pt[..., None], place), -1)
    return x, count
