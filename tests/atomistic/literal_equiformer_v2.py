"""EquiformerV2 as its official code computes it, for comparison in tests and benchmarks.

Everything is written out: dense Wigner matrices of all orders, dense matrices between the orders of
coefficients, whole grids for all edges at once, every row of every head. Weights come as an
official state dict, sizes as official constructor arguments. Without dropout and drop path.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Literal"]

State = dict[str, Tensor]
DEFAULTS: dict[str, Any] = {
    "max_radius": 5.0, "num_heads": 8, "sphere_channels": 128, "attn_hidden_channels": 128,
    "attn_alpha_channels": 32, "attn_value_channels": 16, "ffn_hidden_channels": 512,
    "norm_type": "rms_norm_sh", "lmax_list": [6], "mmax_list": [2], "grid_resolution": None,
    "num_layers": 12, "use_atom_edge_embedding": True, "share_atom_edge_embedding": False,
    "use_m_share_rad": False, "use_attn_renorm": True, "use_gate_act": False, "use_grid_mlp": False,
    "use_sep_s2_act": True,
}  # fmt: skip
AVERAGE_ATOMS, AVERAGE_DEGREE = 77.81317, 23.395238876342773


class Literal:
    """Calls compute energy (B,) and forces (N, 3); `mid` then holds what lies between."""

    def __init__(self, state: State, constructor: dict[str, Any]) -> None:
        self.p, self.c = state, DEFAULTS | constructor
        self.L, self.M = self.c["lmax_list"][0], self.c["mmax_list"][0]
        self.dtype = state["sphere_embedding.weight"].dtype
        self.kept = [l * l + l + m for l in range(self.L + 1) for m in _orders(l, self.M)]
        self.to_m = m_matrix(self.L, self.M).to(self.dtype)
        self.edge_grid = grids(self.L, self.M, self.c["grid_resolution"], self.dtype)
        self.node_grid = grids(self.L, self.L, self.c["grid_resolution"], self.dtype)
        self.degree = torch.tensor([l for l in range(self.L + 1) for _ in range(2 * l + 1)])
        rescale = [
            math.sqrt((2 * l + 1) / (2 * self.M + 1)) if l > self.M else 1.0
            for l in self.degree.tolist()
        ]
        self.rescale = torch.tensor(rescale, dtype=self.dtype)
        self.mid: State = {}

    def __call__(
        self, z: Tensor, edges: Tensor, vectors: Tensor, frames: Tensor, batch: Tensor, graphs: int
    ) -> tuple[Tensor, Tensor]:
        """Energies and forces.

        Args:
            z: atomic numbers (N). edges: (2, E), sources and targets. vectors: (E, 3), from target
                to source [Å]. frames: (E, 3, 3). batch: number of each atom's graph.
        """
        self.z, self.source, self.target = z, edges[0], edges[1]
        distance = vectors.norm(dim=-1)
        wigner = wigner_matrices(self.L, frames.detach()).to(self.dtype)
        self.rotation = wigner[:, self.kept]
        self.inverse = wigner.transpose(1, 2)[:, :, self.kept] * self.rescale[None, :, None]
        self.gauss = smearing(distance, self.c["max_radius"])
        self.mid = {"wigner": wigner, "edge_distance": distance, "edge_distance_vec": vectors}
        x = self._embedded()
        for i in range(self.c["num_layers"]):
            x = self._block(f"blocks.{i}.", x)
            self.mid.setdefault("block0_out", x)
        x = self._norm("norm.", x)
        self.mid["final_norm"] = x
        per_atom = self._feed_forward("energy_block.", x)[:, 0, 0]
        self.mid["node_energy"] = per_atom
        energy = x.new_zeros(graphs).index_add(0, batch, per_atom) / AVERAGE_ATOMS
        return energy, self._attention("force_block.", x)[:, 1:4, 0]

    def _embedded(self) -> Tensor:
        channels, L = self.c["sphere_channels"], self.L
        x = self.p["sphere_embedding.weight"].new_zeros(len(self.z), (L + 1) ** 2, channels)
        x[:, 0] = self.p["sphere_embedding.weight"][self.z]
        scalars = self._scalars("edge_degree_embedding.")
        radial = self._radial("edge_degree_embedding.rad_func.net.", scalars)
        rows = radial.view(len(radial), L + 1, channels)
        rows = F.pad(rows, (0, 0, 0, len(self.kept) - L - 1))
        rows = torch.einsum("ml,emc->elc", self.to_m, rows)
        degree = self._gathered(self.inverse @ rows) / AVERAGE_DEGREE
        self.mid["edge_degree"] = degree
        return x + degree

    def _gathered(self, rows: Tensor) -> Tensor:
        return rows.new_zeros(len(self.z), *rows.shape[1:]).index_add(0, self.target, rows)

    def _scalars(self, key: str) -> Tensor:
        if not self.c["use_atom_edge_embedding"]:
            return self.gauss
        key = "" if self.c["share_atom_edge_embedding"] else key
        source = self.p[f"{key}source_embedding.weight"][self.z[self.source]]
        target = self.p[f"{key}target_embedding.weight"][self.z[self.target]]
        return torch.cat([self.gauss, source, target], dim=-1)

    def _radial(self, key: str, x: Tensor) -> Tensor:
        for linear, norm in ((0, 1), (3, 4)):
            x = self._linear(f"{key}{linear}.", x)
            weight, bias = self.p[f"{key}{norm}.weight"], self.p[f"{key}{norm}.bias"]
            x = F.silu(F.layer_norm(x, x.shape[-1:], weight, bias, 1e-5))
        return self._linear(f"{key}6.", x)

    def _linear(self, key: str, x: Tensor) -> Tensor:
        return F.linear(x, self.p[f"{key}weight"], self.p.get(f"{key}bias"))

    def _block(self, key: str, x: Tensor) -> Tensor:
        out = self._attention(f"{key}ga.", self._norm(f"{key}norm_1.", x))
        self.mid.setdefault("block0_attn_out", out)
        x = x + out
        return x + self._feed_forward(f"{key}ffn.", self._norm(f"{key}norm_2.", x))

    def _attention(self, key: str, x: Tensor) -> Tensor:
        heads, width = self.c["num_heads"], self.c["attn_alpha_channels"]
        hidden, values = self.c["attn_hidden_channels"], self.c["attn_value_channels"]
        gated, separable = self.c["use_gate_act"], self.c["use_sep_s2_act"]
        scalars = self._scalars(key)
        message = torch.cat([x[self.source], x[self.target]], dim=2)
        radial = None
        if self.c["use_m_share_rad"]:
            weights = self._radial(f"{key}rad_func.net.", scalars)
            message = message * weights.view(len(message), self.L + 1, -1)[:, self.degree]
        else:
            radial = self._radial(f"{key}so2_conv_1.rad_func.net.", scalars)
        gates = self.L * hidden if gated else hidden if separable else 0
        rows = self.rotation @ message
        rows, extra = self._so2(f"{key}so2_conv_1.", rows, hidden, heads * width + gates, radial)
        logits, gate = extra[:, : heads * width], extra[:, heads * width :]
        if gated:
            rows = self._gate(rows, gate, self.degree[self.kept])
        else:
            rows = self._grid_activation(rows, gate if separable else None, self.edge_grid)
        rows, _ = self._so2(f"{key}so2_conv_2.", rows, heads * values, 0, None)
        alpha = self._alpha(key, logits.view(-1, heads, width))
        self.mid.setdefault("block0_alpha", alpha)
        rows = rows.view(*rows.shape[:2], heads, values) * alpha[:, None, :, None]
        return self._so3_linear(f"{key}proj.", self._gathered(self.inverse @ rows.flatten(2)))

    def _alpha(self, key: str, x: Tensor) -> Tensor:
        if self.c["use_attn_renorm"]:
            weight, bias = self.p[f"{key}alpha_norm.weight"], self.p[f"{key}alpha_norm.bias"]
            x = F.layer_norm(x, x.shape[-1:], weight, bias, 1e-5)
        x = 0.6 * x + 0.4 * x * (2 * torch.sigmoid(x) - 1)
        logits = (x * self.p[f"{key}alpha_dot"]).sum(-1)
        index = self.target[:, None].expand_as(logits)
        largest = logits.new_zeros(len(self.z), logits.shape[1])
        largest = largest.scatter_reduce(0, index, logits.detach(), "amax", include_self=False)
        exponentials = (logits - largest[self.target]).exp()
        return exponentials / (self._gathered(exponentials)[self.target] + 1e-16)

    def _so2(
        self, key: str, x: Tensor, out: int, extra: int, radial: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x = torch.einsum("ml,elc->emc", self.to_m, x)
        rest, first, scale = [], self.L + 1, 0
        zero = x[:, :first].flatten(1)
        if radial is not None:
            zero = zero * radial[:, : zero.shape[1]]
            scale = zero.shape[1]
        zero = self._linear(f"{key}fc_m0.", zero)
        more, zero = zero[:, :extra], zero[:, extra:].reshape(len(x), -1, out)
        for m in range(1, self.M + 1):
            count = self.L + 1 - m
            pair = x[:, first : first + 2 * count].reshape(len(x), 2, -1)
            if radial is not None:
                pair = pair * radial[:, None, scale : scale + pair.shape[2]]
                scale += pair.shape[2]
            both = self._linear(f"{key}so2_m_conv.{m - 1}.fc.", pair)
            a, b = both.chunk(2, dim=2)
            plus, minus = a[:, 0] - b[:, 1], a[:, 1] + b[:, 0]
            rest += [part.reshape(len(x), count, out) for part in (plus, minus)]
            first += 2 * count
        x = torch.cat([zero, *rest], dim=1)
        return torch.einsum("ml,emc->elc", self.to_m, x), more

    def _grid_activation(
        self, x: Tensor, gate: Tensor | None, grid: tuple[Tensor, Tensor]
    ) -> Tensor:
        to, back = grid
        values = F.silu(torch.einsum("bai,zic->zbac", to, x))
        out = torch.einsum("bai,zbac->zic", back, values)
        return out if gate is None else torch.cat([F.silu(gate)[:, None], out[:, 1:]], dim=1)

    def _gate(self, x: Tensor, gates: Tensor, degree: Tensor) -> Tensor:
        gates = torch.sigmoid(gates).view(len(x), self.L, -1)[:, degree[1:] - 1]
        return torch.cat([F.silu(x[:, :1]), x[:, 1:] * gates], dim=1)

    def _so3_linear(self, key: str, x: Tensor) -> Tensor:
        out = torch.einsum("nlc,ldc->nld", x, self.p[f"{key}weight"][self.degree])
        return torch.cat([out[:, :1] + self.p[f"{key}bias"], out[:, 1:]], dim=1)

    def _feed_forward(self, key: str, x: Tensor) -> Tensor:
        scalar = x[:, 0]
        if self.c["use_grid_mlp"]:
            separable = self.c["use_sep_s2_act"]
            gate = F.silu(self._linear(f"{key}scalar_mlp.0.", scalar)) if separable else None
            x = self._grid_mlp(key, self._so3_linear(f"{key}so3_linear_1.", x))
            x = x if gate is None else torch.cat([gate[:, None], x[:, 1:]], dim=1)
            return self._so3_linear(f"{key}so3_linear_2.", x)
        x = self._so3_linear(f"{key}so3_linear_1.", x)
        if self.c["use_gate_act"]:
            x = self._gate(x, self._linear(f"{key}gating_linear.", scalar), self.degree)
        else:
            separable = self.c["use_sep_s2_act"]
            gate = self._linear(f"{key}gating_linear.", scalar) if separable else None
            x = self._grid_activation(x, gate, self.node_grid)
        return self._so3_linear(f"{key}so3_linear_2.", x)

    def _grid_mlp(self, key: str, x: Tensor) -> Tensor:
        to, back = self.node_grid
        values = torch.einsum("bai,zic->zbac", to, x)
        for i in (0, 2, 4):
            values = self._linear(f"{key}grid_mlp.{i}.", F.silu(values) if i else values)
        return torch.einsum("bai,zbac->zic", back, values)

    def _norm(self, key: str, x: Tensor) -> Tensor:
        return NORMS[self.c["norm_type"]](self.p, key, x, self.degree)


def _per_degree(p: State, key: str, x: Tensor, degree: Tensor) -> Tensor:
    out = []
    for l in range(int(degree.max()) + 1):
        rows = x[:, degree == l]
        if l == 0:
            rows = rows - rows.mean(-1, keepdim=True)
        size = (rows.square().mean((1, 2), keepdim=True) + 1e-5).sqrt()
        rows = rows / size * p[f"{key}affine_weight"][l]
        out.append(rows + p[f"{key}affine_bias"] if l == 0 else rows)
    return torch.cat(out, dim=1)


def _scalar_apart(p: State, key: str, x: Tensor, degree: Tensor) -> Tensor:
    weight, bias = p[f"{key}norm_l0.weight"], p[f"{key}norm_l0.bias"]
    scalar = F.layer_norm(x[:, :1], x.shape[-1:], weight, bias, 1e-5)
    L = int(degree.max())
    square = sum(x[:, degree == l].square().mean((1, 2), keepdim=True) for l in range(1, L + 1))
    rest = x[:, 1:] / (square / L + 1e-5).sqrt() * p[f"{key}affine_weight"][degree[1:] - 1]
    return torch.cat([scalar, rest], dim=1)


def _together(p: State, key: str, x: Tensor, degree: Tensor) -> Tensor:
    x = torch.cat([x[:, :1] - x[:, :1].mean(-1, keepdim=True), x[:, 1:]], dim=1)
    L = int(degree.max())
    square = sum(x[:, degree == l].square().mean((1, 2), keepdim=True) for l in range(L + 1))
    x = x / (square / (L + 1) + 1e-5).sqrt() * p[f"{key}affine_weight"][degree]
    return torch.cat([x[:, :1] + p[f"{key}affine_bias"], x[:, 1:]], dim=1)


NORMS = {"layer_norm": _per_degree, "layer_norm_sh": _scalar_apart, "rms_norm_sh": _together}


def _orders(l: int, most: int) -> range:
    return range(-min(l, most), min(l, most) + 1)


def m_matrix(L: int, M: int) -> Tensor:
    """(rows in m-primary order, rows in l-primary order), ones where they are the same."""
    rows = [(l, m) for l in range(L + 1) for m in _orders(l, M)]
    order = [(l, 0) for l in range(L + 1)]
    for m in range(1, M + 1):
        order += [(l, m) for l in range(m, L + 1)] + [(l, -m) for l in range(m, L + 1)]
    matrix = torch.zeros(len(rows), len(rows))
    for i, each in enumerate(order):
        matrix[i, rows.index(each)] = 1.0
    return matrix


def smearing(distance: Tensor, cutoff: float, count: int = 600) -> Tensor:
    """Gaussians of twice their spacing in width, (E, count)."""
    centers = torch.linspace(0.0, cutoff, count, dtype=distance.dtype)
    width = 2.0 * (centers[1] - centers[0]).item()
    return torch.exp(-0.5 / width**2 * (distance[:, None] - centers).square())


def harmonics(L: int, points: Tensor) -> Tensor:
    """Real orthonormal spherical harmonics of unit vectors (..., 3), (..., (L + 1)^2).

    Polar axis y, azimuth from z to x: sqrt(2) cos(m a) for m > 0, sin for m < 0, no (-1)^m.
    """
    x, y, z = points.double().unbind(-1)
    azimuth, sine = torch.atan2(x, z), (x * x + z * z).sqrt()
    legendre: dict[tuple[int, int], Tensor] = {}
    for m in range(L + 1):
        legendre[m, m] = math.prod(range(1, 2 * m, 2)) * sine**m
        for l in range(m + 1, L + 1):
            before = legendre.get((l - 2, m), torch.zeros_like(y))
            legendre[l, m] = ((2 * l - 1) * y * legendre[l - 1, m] - (l + m - 1) * before) / (l - m)
    out = []
    for l in range(L + 1):
        for m in range(-l, l + 1):
            k = abs(m)
            factor = (2 * l + 1) / (4 * math.pi) * math.factorial(l - k) / math.factorial(l + k)
            wave = torch.cos(m * azimuth) if m >= 0 else torch.sin(k * azimuth)
            out.append(math.sqrt(factor * (2 if m else 1)) * legendre[l, k] * wave)
    return torch.stack(out, dim=-1)


def _sphere(lat: int, long: int) -> Tensor:
    b = (torch.arange(lat, dtype=torch.float64) + 0.5) * math.pi / lat
    a = torch.arange(long, dtype=torch.float64) * 2 * math.pi / long
    b, a = b[:, None].expand(lat, long), a[None].expand(lat, long)
    return torch.stack([b.sin() * a.sin(), b.cos(), b.sin() * a.cos()], dim=-1)


def _latitude_weights(lat: int) -> Tensor:
    """Driscoll and Healy, 1994: the integral of a function of latitude, 2 for the constant 1."""
    half = lat // 2
    j = torch.arange(lat, dtype=torch.float64)
    total = sum(
        torch.sin((2 * j + 1) * (2 * k + 1) * math.pi / (2 * lat)) / (2 * k + 1)
        for k in range(half)
    )
    return 2.0 / half * torch.sin(math.pi * (2 * j + 1) / (2 * lat)) * total


def grids(L: int, M: int, resolution: int | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Matrices to and from the grid, each (lat, long, coefficients with |m| <= M)."""
    lat = resolution or 2 * (L + 1)
    long = resolution or (2 * (M + 1) + 1 if L == M else 2 * M + 1)
    values = harmonics(L, _sphere(lat, long))
    degree = torch.tensor([l for l in range(L + 1) for _ in range(2 * l + 1)]).double()
    scale = math.sqrt(4 * math.pi) / ((2 * degree + 1).sqrt() * math.sqrt(L + 1))
    weights = _latitude_weights(lat)[:, None, None] * 2 * math.pi / long
    to, back = values * scale, values / scale * weights
    larger = torch.where(degree > M, ((2 * degree + 1) / (2 * M + 1)).sqrt(), 1.0)
    kept = [l * l + l + m for l in range(L + 1) for m in _orders(l, M)]
    return (to * larger)[..., kept].to(dtype), (back * larger)[..., kept].to(dtype)


def wigner_matrices(L: int, frames: Tensor) -> Tensor:
    """D(R) of all degrees on the diagonal, (E, (L + 1)^2, (L + 1)^2)."""
    up = frames[:, :, 1]
    b, a = up[:, 1].clamp(-1, 1).arccos(), torch.atan2(up[:, 0], up[:, 2])
    rest = (_about_y(a) @ _about_x(b)).transpose(1, 2) @ frames
    c = torch.atan2(rest[:, 0, 2], rest[:, 0, 0])
    out = frames.new_zeros(len(frames), (L + 1) ** 2, (L + 1) ** 2)
    for l in range(L + 1):
        flip = swap(l).to(frames.dtype)
        one = _turn(l, a) @ flip @ _turn(l, b) @ flip @ _turn(l, c)
        out[:, l * l : (l + 1) ** 2, l * l : (l + 1) ** 2] = one
    return out


def swap(l: int) -> Tensor:
    """D_l of the half turn that swaps x and y, from the harmonics themselves by least squares."""
    points = _sphere(2 * l + 2, 2 * l + 3).reshape(-1, 3)
    turned = torch.stack([points[:, 1], points[:, 0], -points[:, 2]], dim=-1)
    before, after = (harmonics(l, each)[:, l * l :] for each in (points, turned))
    return torch.linalg.lstsq(before, after).solution.T


def _turn(l: int, angle: Tensor) -> Tensor:
    k = torch.arange(l, -l - 1, -1, dtype=angle.dtype)
    out = torch.diag_embed(torch.cos(k * angle[:, None]))
    row = torch.arange(2 * l + 1)
    out[:, row, row.flip(0)] = torch.sin(k * angle[:, None])
    out[:, l, l] = 1.0
    return out


def _about_y(a: Tensor) -> Tensor:
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    rows = [a.cos(), zero, a.sin(), zero, one, zero, -a.sin(), zero, a.cos()]
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


def _about_x(b: Tensor) -> Tensor:
    zero, one = torch.zeros_like(b), torch.ones_like(b)
    rows = [one, zero, zero, zero, b.cos(), -b.sin(), zero, b.sin(), b.cos()]
    return torch.stack(rows, dim=-1).view(-1, 3, 3)
