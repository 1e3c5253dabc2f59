"""Wigner matrices: how coefficients of spherical harmonics turn with the frame of an edge.

The frame R of an edge, rows (z', n, y'), takes the edge's direction n to the axis y. As
R = Ry(a) Rx(b) Ry(c), its matrix of degree l is D = Z(a) J Z(b) J Z(c), where Z turns about y and
J belongs to the half turn that swaps x and y (Pinchon and Hoggan, 2007, doi
10.1088/1751-8113/40/7/011). Angles enter through cosines and sines of their multiples only, made
by recursion from components of the frame: no digits are lost near the poles.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from surform.atomistic.constants import Constants, made_once
from surform.atomistic.harmonics import directions, gauss_legendre, harmonics
from surform.atomistic.layout import Layout

__all__ = ["Wigner", "frame_angles", "polar_angles", "swap"]

Turn = tuple[Tensor, Tensor]  # cosine and sine of an angle


class Wigner(Constants):
    """Matrices from full features to rows in the frames of edges, (E, rows, (lmax + 1)^2)."""

    swaps: Tensor
    spin_x: Tensor
    spin_z: Tensor

    def __init__(self, layout: Layout) -> None:
        about_x, about_z = generators(layout.lmax)
        super().__init__(swaps=_swaps(layout.lmax), spin_x=about_x, spin_z=about_z)
        self.layout = layout
        self.rows = list(layout.edge_rows)

    def forward(
        self,
        directions: Float[Tensor, "e 3"],
        frames: Float[Tensor, "e 3 3"] | None = None,
        *,
        attached: bool = False,
    ) -> Float[Tensor, "e rows s"]:
        """Of unit vectors along the edges.

        Without `frames`, each edge's frame is the one with a = 0: the same for the same direction.

        Args:
            frames: to be used instead; their second rows are the directions.
            attached: the derivative with respect to the directions is that of frames that follow
                them without spin (parallel transport), defined and smooth everywhere, to second
                order; else there is none.
        """
        fixed = directions.detach()
        if frames is None:
            whole = self.whole(None, *polar_angles(fixed))
        else:
            whole = self.whole(*frame_angles(frames.detach()))
        if attached:
            axis = _turned(fixed, frames, directions)
            whole = self._following(whole, axis)
        return whole[:, self.rows]

    def whole(self, a: Turn | None, b: Turn, c: Turn) -> Tensor:
        """(E, (lmax + 1)^2, (lmax + 1)^2), all degrees on the diagonal; a = None: 0."""
        most = self.layout.lmax
        out = b[0].new_zeros(b[0].shape[0], self.layout.size, self.layout.size)
        turns = [None if each is None else _multiples(each, most) for each in (a, b, c)]
        for l in range(most + 1):
            block = slice(l * l, (l + 1) ** 2)
            flip = self.swaps[block, block]
            first, second, third = (None if t is None else _about_y(t, l) for t in turns)
            assert second is not None
            assert third is not None
            made = flip @ second @ flip @ third
            out[:, block, block] = made if first is None else first @ made
        return out

    def _following(self, whole: Tensor, axis: Tensor) -> Tensor:
        """exp(A) D to second order, where A = 0 turns the direction to where it is."""
        x, z = (-axis[:, 2], axis[:, 0])
        spin = x[:, None, None] * self.spin_x + z[:, None, None] * self.spin_z
        once = spin @ whole
        return whole + once + 0.5 * (spin @ once)


def polar_angles(n: Tensor) -> tuple[Turn, Turn]:
    """(cos b, sin b), (cos c, sin c) of unit vectors n = (sin b sin c, cos b, -sin b cos c)."""
    x, y, z = n.unbind(-1)
    sine = torch.hypot(x, z)
    pole = sine == 0
    over = torch.where(pole, 1.0, sine)
    return (y, sine), (torch.where(pole, 1.0, -z / over), x / over)


def frame_angles(frames: Tensor) -> tuple[Turn, Turn, Turn]:
    """Angles a, b, c of R = Ry(a) Rx(b) Ry(c), each as (cosine, sine)."""
    x, y, z = frames[:, :, 1].unbind(-1)  # R y = (sin b sin a, cos b, sin b cos a)
    sine = torch.hypot(x, z)
    pole = sine == 0
    over = torch.where(pole, 1.0, sine)
    cos_a, sin_a = torch.where(pole, 1.0, z / over), x / over
    # the first row of (Ry(a) Rx(b))^T R is that of Ry(c): (cos c, 0, sin c)
    row = cos_a[:, None] * frames[:, 0] - sin_a[:, None] * frames[:, 2]
    return (cos_a, sin_a), (y, sine), (row[:, 0], row[:, 2])


def _turned(n: Tensor, frames: Tensor | None, moving: Tensor) -> Tensor:
    """Directions that may move, seen from frames that do not."""
    if frames is None:
        (cos_b, sin_b), (cos_c, sin_c) = polar_angles(n)
        zero = torch.zeros_like(cos_b)
        # Rx(b) Ry(c)
        rows = [
            torch.stack((cos_c, zero, sin_c), -1),
            torch.stack((sin_b * sin_c, cos_b, -sin_b * cos_c), -1),
            torch.stack((-cos_b * sin_c, sin_b, cos_b * cos_c), -1),
        ]
        frames = torch.stack(rows, dim=1)
    return (frames.detach() @ moving[:, :, None])[:, :, 0]


def _multiples(turn: Turn, most: int) -> Turn:
    """Cosines and sines of k times the angle, k = 0 ... most, (E, most + 1)."""
    cosine, sine = turn
    cosines, sines = [torch.ones_like(cosine)], [torch.zeros_like(sine)]
    for _ in range(most):
        c, s = cosines[-1], sines[-1]
        cosines.append(c * cosine - s * sine)
        sines.append(s * cosine + c * sine)
    return torch.stack(cosines, -1), torch.stack(sines, -1)


def _about_y(turns: Turn, l: int) -> Tensor:
    """Z of degree l: cos(k a) on the diagonal, sin(k a) on the other one, k = l ... -l."""
    cosines, sines = turns[0][:, : l + 1], turns[1][:, : l + 1]
    cosines = torch.cat((cosines.flip(1), cosines[:, 1:]), dim=1)
    sines = torch.cat((sines.flip(1), -sines[:, 1:]), dim=1)
    return torch.diag_embed(cosines) + torch.diag_embed(sines).flip(2)


@made_once
def swap(l: int) -> Tensor:
    """J of degree l in float64: the half turn that swaps x and y and reverses z."""
    cosines, weights = gauss_legendre(2 * l + 1)
    points = directions(cosines, 4 * l + 1)
    turned = torch.stack((points[..., 1], points[..., 0], -points[..., 2]), dim=-1)
    before, after = (harmonics(l, each)[..., l * l :].flatten(0, 1) for each in (points, turned))
    weights = (weights * (2 * math.pi / (4 * l + 1))).repeat_interleave(4 * l + 1)
    return after.t() @ (before * weights[:, None])


@made_once
def _swaps(lmax: int) -> Tensor:
    return torch.block_diag(*(swap(l) for l in range(lmax + 1)))


@made_once
def generators(lmax: int) -> tuple[Tensor, Tensor]:
    """d/dt of D for small turns about x and about z, all degrees on the diagonal, float64."""
    about_y = []
    for l in range(lmax + 1):
        order = torch.arange(l, -l - 1, -1, dtype=torch.float64)
        about_y.append(torch.diag(order).flip(1))  # d/da of Z at a = 0
    along_y = torch.block_diag(*about_y)
    flip = _swaps(lmax)
    along_x = flip @ along_y @ flip
    # a quarter turn about y takes z to x
    quarter = _quarter(lmax)
    return along_x, quarter.t() @ along_x @ quarter


def _quarter(lmax: int) -> Tensor:
    half = torch.zeros(1, dtype=torch.float64)
    turns = _multiples((half, half + 1), lmax)
    return torch.block_diag(*(_about_y(turns, l)[0] for l in range(lmax + 1)))
