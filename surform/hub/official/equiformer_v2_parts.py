"""Replays of EquiformerV2's parts on their own: frames, grids, norms, convolutions, graphs."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay
from surform.registry import import_object

__all__ = ["components"]

State = dict[str, Tensor]
_NORMS = ("layer_norm", "layer_norm_sh", "rms_norm_sh")


def components(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Every recorded output whose name says what it is and for which degrees and orders."""
    parts = _Parts(fixture, dtype)
    outputs: State = {}
    for name in fixture.named("out"):
        for pattern, make in _MAKERS:
            if (match := re.fullmatch(pattern, name)) is not None:
                found = make(parts, *match.groups())
                outputs[name] = found
                break
    return Replay(outputs, parts.inputs, nn.Identity(), to_official=lambda state: state)


class _Parts:
    def __init__(self, fixture: Fixture, dtype: torch.dtype) -> None:
        self.inputs, self.dtype = fixture.inputs(dtype), dtype
        self.params = fixture.parameters(dtype)
        self.fixture = fixture

    def layout(self, lmax: str | int, mmax: str | int) -> Any:
        return import_object("surform.atomistic.layout:Layout")(int(lmax), int(mmax))

    def named(self, prefix: str) -> State:
        start = f"{prefix}."
        return {k.removeprefix(start): v for k, v in self.params.items() if k.startswith(start)}

    def l_primary(self, lmax: str | int, mmax: str | int) -> list[int]:
        """Our row, in the frame of an edge, of each official one."""
        rows = self.layout(lmax, mmax).edge_rows
        return sorted(range(len(rows)), key=lambda i: rows[i])

    def m_primary(self, lmax: str | int, mmax: str | int) -> list[int]:
        """The official row of each of ours."""
        order = self.l_primary(lmax, mmax)
        return sorted(range(len(order)), key=lambda i: order[i])

    def reduced(self, lmax: str, mmax: str) -> Tensor:
        return self.inputs[f"x_red_l{lmax}_m{mmax}"][:, self.m_primary(lmax, mmax)]

    def grid(self, lmax: str, mmax: str, resolution: str) -> Any:
        layout = self.layout(lmax, mmax)
        count = None if resolution == "default" else int(resolution)
        return import_object("surform.atomistic.sphere_grid:SphereGrid")(layout, count, edges=True)

    def wigner(self, lmax: str, mmax: str = "0") -> tuple[Any, Tensor]:
        frames = self.inputs["edge_rot_mat"].detach()
        wigner = import_object("surform.atomistic.wigner:Wigner")(self.layout(lmax, mmax))
        angles = import_object("surform.atomistic.wigner:frame_angles")(frames)
        return wigner, wigner.whole(*angles)


def _m_order(parts: _Parts, lmax: str, mmax: str) -> Tensor:
    return torch.tensor(parts.m_primary(lmax, mmax))


def _m_sizes(parts: _Parts, lmax: str, mmax: str) -> Tensor:
    layout = parts.layout(lmax, mmax)
    return torch.tensor([layout.count(m) for m in range(layout.mmax + 1)])


def _grid(parts: _Parts, way: str, lmax: str, mmax: str, resolution: str) -> Tensor:
    grid = parts.grid(lmax, mmax, resolution)
    matrix = grid.forth if way == "to" else grid.back.t()
    matrix = matrix[:, parts.l_primary(lmax, mmax)]
    shape = parts.fixture.tensors[f"out/{way}_grid_l{lmax}_m{mmax}_res{resolution}"].shape
    return matrix.reshape(shape)


def _wigner(parts: _Parts, lmax: str) -> Tensor:
    count = len(parts.fixture.tensors[f"out/wigner_l{lmax}"])
    return parts.wigner(lmax)[1][:count]


def _rotated(parts: _Parts, back: str | None, lmax: str, mmax: str) -> Tensor:
    wigner, whole = parts.wigner(lmax, mmax)
    matrix = whole[:, wigner.rows]
    if back:
        rescale = torch.tensor(wigner.layout.rescale, dtype=parts.dtype)[:, None]
        return (matrix.transpose(1, 2) @ parts.reduced(lmax, mmax)) * rescale
    count = parts.inputs[f"x{wigner.layout.size}"]
    return (matrix @ count)[:, parts.l_primary(lmax, mmax)]


def _norm(parts: _Parts, kind: str) -> Tensor:
    x = parts.inputs["x_norm"]
    lmax = int(x.shape[1] ** 0.5) - 1
    norm = import_object("surform.atomistic.norms:EquivariantNorm")(
        parts.layout(lmax, lmax), x.shape[2], kind
    ).to(parts.dtype)
    names = {"affine_weight": "weight", "affine_bias": "bias"}
    state = {names.get(k, k.replace("norm_l0", "scalar")): v for k, v in parts.named(kind).items()}
    norm.load_state_dict(state)
    return norm(x)


def _so3_linear(parts: _Parts) -> Tensor:
    state, x = parts.named("so3_linear"), parts.inputs["x_norm"]
    degrees, out, width = state["weight"].shape
    linear = import_object("surform.atomistic.so3_linear:SO3Linear")(degrees - 1, width, out)
    linear.to(parts.dtype).load_state_dict(state)
    return linear(x)


def _so2(parts: _Parts, kind: str | None, extra: str | None) -> Tensor:
    """The layout is that of the one reduced input; channels follow from the weights."""
    name = f"so2_conv{kind or ''}"
    state = parts.named(name)
    key = next(key for key in parts.inputs if key.startswith("x_red_"))
    lmax, mmax = key.removeprefix("x_red_l").split("_m")
    layout, x = parts.layout(lmax, mmax), parts.reduced(lmax, mmax)
    first = state["so2_m_conv.0.fc.weight"].shape[0] // (2 * layout.count(1))
    more = len(state["fc_m0.bias"]) - layout.count(0) * first
    make = import_object("surform.atomistic.so2_convolution:SO2Convolution")
    convolution = make(layout, x.shape[2], first, more).to(parts.dtype)
    own = {k: v for k, v in state.items() if not k.startswith("rad_func")}
    names = {"fc_m0": "zero", "so2_m_conv": "orders", ".fc.": "."}
    for old, new in names.items():
        own = {k.replace(old, new): v for k, v in own.items()}
    convolution.load_state_dict(own)
    rows, invariant = convolution(x, _factors(parts, state))
    return invariant if extra else rows[:, parts.l_primary(lmax, mmax)]


def _factors(parts: _Parts, state: State) -> Tensor | None:
    """What the radial net gives for scalars of edges that are recorded as they are."""
    net = {k.removeprefix("rad_func.net."): v for k, v in state.items() if k.startswith("rad")}
    if not net:
        return None
    hidden, width = net["0.weight"].shape
    make = import_object("surform.atomistic.radial:RadialNet")
    radial = make(width, hidden, len(net["6.bias"]), 0).to(parts.dtype)
    names = {"0": "first", "1": "norm1", "3": "second", "4": "norm2", "6": "third"}
    radial.load_state_dict({f"{names[k[0]]}{k[1:]}": v for k, v in net.items()})
    return radial.of(parts.inputs["x_edge"])


def _smearing(parts: _Parts, start: str, stop: str, count: str, width: str) -> Tensor:
    if (start, width) != ("0", "2"):
        raise ValueError("Gaussians start at 0 and are twice as wide as their spacing")
    make = import_object("surform.atomistic.edges:Gaussians")
    return make(float(stop), int(count))(parts.inputs["distance"].double(), parts.dtype)


def _activation(parts: _Parts, kind: str, lmax: str, mmax: str) -> Tensor:
    x, order = parts.reduced(lmax, mmax), parts.l_primary(lmax, mmax)
    where = "surform.atomistic.sphere_activation"
    if kind == "gate":
        degrees = torch.tensor(parts.layout(lmax, mmax).edge_degrees)
        gates = parts.inputs[f"gate_scalars_l{lmax}"]
        return import_object(f"{where}:gated")(x, gates, degrees)[:, order]
    grid = parts.grid(lmax, mmax, "default")
    if kind == "sep_s2":
        found = import_object(f"{where}:separable")(
            x, parts.inputs["gate_scalar"], grid.forth, grid.back
        )
    else:
        found = import_object(f"{where}:on_the_sphere")(x, grid.forth, grid.back)
    return found[:, order]


def _leaky(parts: _Parts, slope: str) -> Tensor:
    return import_object("surform.atomistic.graph_attention:smooth_leaky_relu")(
        parts.inputs["scalars"], float(slope)
    )


def _graph(parts: _Parts, kind: str, what: str) -> Tensor:
    """Periodic graphs; the constructor may name another cutoff and limit than the first record."""
    given = parts.fixture.constructor
    cutoff = float(given.get("cutoff", 6.0))
    limit = None if kind == "unlimited" else int(given.get("max_neighbors", 9))
    counts = parts.inputs["pbc_natoms"].tolist()
    positions, cell = parts.inputs["pbc_pos"].detach(), parts.inputs["pbc_cell"].detach()
    make = import_object("surform.data.atoms_neighbors:neighbor_list")
    found = make(
        positions,
        cutoff,
        cell=cell,
        batch=torch.repeat_interleave(torch.tensor(counts)),
        max_neighbors=limit,
        tolerant=kind == "fairchem_tolerant",
    )
    if what == "edge_index":
        return found.edge_index
    if what == "cell_offsets":
        return found.offsets
    return found.neighbors


_LM = r"l(\d+)_m(\d+)"
_MAKERS = (
    (rf"l_to_m_index_{_LM}", _m_order),
    (rf"m_size_{_LM}", _m_sizes),
    (rf"(to|from)_grid_{_LM}_res(\w+)", _grid),
    (r"wigner_l(\d+)", _wigner),
    (rf"rotate(_inv)?_{_LM}", _rotated),
    (f"({'|'.join(_NORMS)})", _norm),
    (r"so3_linear", _so3_linear),
    (r"so2_conv(_internal)?(_extra)?", _so2),
    (r"gaussian_smearing_(\d+)_(\d+)_(\d+)_(\d+)", _smearing),
    (rf"(gate|sep_s2|s2)_act_{_LM}", _activation),
    (r"smooth_leaky_relu_([\d.]+)", _leaky),
    (r"graph_(\w+?)_(edge_index|cell_offsets|neighbors)", _graph),
)
