"""Densities of generated jets: prongs of particles, seen from all sides that a jet may have.

A jet of a class has a view: how it is turned and how its prongs share its momentum. Given the view
its particles are independent, each from a mixture of Gaussians in log(pT), eta and phi; views are
finitely many and equally likely, so that the density of a jet is a finite sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["CLASSES", "JetClass", "jet_classes"]

CLASSES = ("gluon", "quark", "W", "Z", "top")

_SHARES = (0.3, 0.4, 0.5)  # of the momentum, that one of two prongs has


@dataclass(frozen=True)
class JetClass:
    """A class of jets: V views, K kinds of particles.

    Args:
        mean: particles of a jet, before the bounds.
        weight: (K,), probability of each kind, which sums to 1.
        center: (V, K, 2), eta and phi.
        width: (K,), in eta and phi alike.
        log_pt: (K,), mean of log(pT / GeV).
        spread: (K,), its deviation.
    """

    mean: float
    weight: Float[Tensor, " k"]
    center: Float[Tensor, "v k 2"]
    width: Float[Tensor, " k"]
    log_pt: Float[Tensor, " k"]
    spread: Float[Tensor, " k"]

    def log_density(
        self, x: Float[Tensor, "b p 3"], count: Int[Tensor, " b"], most: int
    ) -> Float[Tensor, " b"]:
        """Of whole jets, log of the probability density of their particles in any order.

        Args:
            x: log(pT / GeV), eta, phi; of no matter behind `count` particles.
            count: particles of each jet, 1 to `most`.
        """
        there = torch.arange(x.shape[1], device=x.device) < count[:, None]
        jet = there.nonzero()[:, 0]
        log_pt, place = x[there].split((1, 2), -1)  # (n, 1), (n, 2)
        scale = self.weight / (2 * math.pi * self.width**2 * math.sqrt(2 * math.pi) * self.spread)
        kinds = scale * torch.exp(-((log_pt - self.log_pt) / self.spread).square() / 2)  # (n, k)
        each = place.new_zeros(len(place), len(self.center))
        for kind, width in enumerate(self.width.tolist()):
            center = self.center[:, kind]  # (v, 2)
            away = place.square().sum(1, keepdim=True) - 2 * place @ center.T
            away = (away + center.square().sum(1)) / (2 * width**2)
            each += kinds[:, kind, None] * torch.exp(-away)
        views = x.new_zeros(len(x), len(self.center)).index_add_(0, jet, each.log())  # (b, v)
        return self.log_counts(most)[count - 1] + views.logsumexp(-1) - math.log(len(self.center))

    def log_counts(self, most: int) -> Float[Tensor, " most"]:
        """Log probability of 1 ... `most` particles: Poisson's, within these bounds."""
        number = torch.arange(1, most + 1, dtype=torch.float64, device=self.weight.device)
        poisson = number * math.log(self.mean) - torch.lgamma(number + 1)
        return poisson - poisson.logsumexp(0)


def jet_classes(turns: int, device: torch.device | str = "cpu") -> list[JetClass]:
    """The classes in the order of `CLASSES`, in float64.

    Args:
        turns: equally spaced angles by which a jet may be turned around its axis.
    """
    angle = torch.arange(turns, dtype=torch.float64, device=device) * (2 * math.pi / turns)
    axis = torch.zeros(1, 1, 2, dtype=torch.float64, device=device)
    one, two, three = (1.0,), (0.5, 0.5), (0.4, 0.3, 0.3)
    return [
        _jet_class(15.0, axis, one, core=0.070, halo=0.18, soft=0.60),
        _jet_class(12.5, axis, one, core=0.055, halo=0.16, soft=0.50),
        _jet_class(12.5, _two_prongs(angle, 0.16), two, core=0.045, halo=0.14, soft=0.45),
        _jet_class(13.5, _two_prongs(angle, 0.20), two, core=0.045, halo=0.14, soft=0.45),
        _jet_class(15.5, _three_prongs(angle), three, core=0.055, halo=0.15, soft=0.50),
    ]


def _jet_class(
    mean: float, prongs: Tensor, shares: tuple[float, ...], *, core: float, halo: float, soft: float
) -> JetClass:
    """Each prong (v, prongs, 2) has hard particles in its core and soft ones in its halo."""
    share = prongs.new_tensor(shares)
    alike = prongs.new_ones(len(shares))
    return JetClass(
        mean=mean,
        weight=torch.cat(((1 - soft) * share, soft * share)),
        center=torch.cat((prongs, prongs), 1),
        width=torch.cat((core * alike, halo * alike)),
        log_pt=torch.cat((3.4 * alike, 1.6 * alike)),
        spread=torch.cat((0.9 * alike, 0.7 * alike)),
    )


def _two_prongs(angle: Tensor, distance: float) -> Tensor:
    """(v, 2, 2): so far apart, their momenta balanced around the axis."""
    share = angle.new_tensor(_SHARES)
    ahead = distance * (1 - share)[:, None, None] * _towards(angle)
    behind = -distance * share[:, None, None] * _towards(angle)
    return torch.stack((ahead, behind), 2).flatten(0, 1)


def _three_prongs(angle: Tensor) -> Tensor:
    """(v, 3, 2): a pair, and one on the other side."""
    places = ((0.13, math.pi), (0.14, 0.65), (0.14, -0.65))
    return torch.stack([away * _towards(angle + turn) for away, turn in places], 1)


def _towards(angle: Tensor) -> Tensor:
    return torch.stack((angle.cos(), angle.sin()), -1)
