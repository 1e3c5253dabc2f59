"""EquiformerV2: equivariant graph attention as a potential of atoms (Liao et al., 2023)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.atomistic.edge_degree import EdgeDegree
from surform.atomistic.edges import Edges, Gaussians, envelope
from surform.atomistic.equiformer_block import Block, Sizes
from surform.atomistic.feed_forward import EquivariantFeedForward
from surform.atomistic.graph_checks import check_graph, check_nodes, check_vectors
from surform.atomistic.layout import Layout
from surform.atomistic.norms import EquivariantNorm, NormKind
from surform.atomistic.radial import ElementPair
from surform.atomistic.sphere_grid import SphereGrid
from surform.atomistic.starts import WeightInit, start
from surform.atomistic.stress_head import StressHead
from surform.atomistic.wigner import Wigner
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction, one_of

__all__ = ["Energies", "EquiformerV2"]

Activation = Literal["separable_s2", "s2", "gate"]
Forces = Literal["direct", "conservative", "none"]
Stress = Literal["none", "both", "target"]


class Energies(NamedTuple):
    """What a potential gives for structures of atoms.

    energy: (B,). forces: (N, 3), or None. virial: (B, 3, 3), the derivative of the energy with
    respect to a strain of positions and cell, or None; over the volume it is the stress.
    stress: (B, 3, 3), from a head of its own, or None.
    """

    energy: Tensor
    forces: Tensor | None = None
    virial: Tensor | None = None
    stress: Tensor | None = None


class EquiformerV2(nn.Module):
    """Energies and forces of structures of atoms, in normalised units.

    Liao, Wood, Das, Smidt, "EquiformerV2: Improved Equivariant Transformer for Scaling to
    Higher-Degree Representations" (ICLR 2024), arXiv 2306.12059; official code
    atomicarchitects/equiformer_v2@cf45ee209abd and fairchem-core 1.10. Defaults are the published
    83M network. Cost is linear in the number of edges.

    Deviations, corrected here: the frame of an edge follows from its direction (drawn at random in
    each official call; `edge_rot_mat` gives others); atoms without neighbours and structures
    without edges have an energy and no force; nothing is kept for gradients under `torch.no_grad`.

    Args:
        dim: channels of each coefficient (official: sphere_channels). depth: blocks.
        lmax, mmax: largest degree, and largest order in the frame of an edge.
        heads, hidden, alphas, values: heads of attention, channels between its convolutions, and
            channels of each head's scores and values.
        feed_forward: channels inside of feed-forward maps and the energy head.
        edge_channels: of the nets that read distances and elements.
        norm: before attention and feed-forward maps; "layer_norm": every degree has a size of its
            own; "layer_norm_sh": degree 0 has, all others share one; "rms_norm_sh": all share one.
        activation: in attention; feed_forward_activation: None = the same. Those on the sphere
            depend on the grid, and through it a little on the frames; "gate" does not.
        grid_mlp: feed-forward maps act on the values on the grid; needs an activation there.
        grid_resolution: latitudes and longitudes of both grids; None: as few as the official code
            takes, on which frames matter by percents.
        atom_edge_embedding: edges know the elements at their ends; share_atom_edge_embedding: all
            layers by the same tables. share_radial: factors of messages are the same for all
            orders (official: use_m_share_rad). renorm: layer norm of what scores are made of.
        elements: rows of the tables; atomic numbers lie below.
        basis: Gaussians of the distance, each twice as wide as their spacing (published: 600,
            whatever the official num_distance_basis says). Few, broad ones make forces that are
            gradients smooth: 600 of them within 5 Å follow the noise between single frames.
        cutoff: radius [Å]. max_neighbors: what graphs for this network are cut to; None: all.
        average_atoms, average_degree: what energies and neighbourhoods are divided by.
        energy_references: add a number per atom of each element to the energy (official:
            use_energy_lin_ref).
        forces: "direct": from a head of their own, as published; "conservative": minus the gradient
            of the energy, with the virial; "none".
        stress: a head for the stress that reads atoms at "both" ends of edges or at their "target"
            (official: use_source_target_embedding), as in the OMat24 networks; "none".
        envelope: exponent p of a polynomial that takes edges out smoothly at the cutoff (ours);
            None: they end abruptly, as published.
        attention_dropout: of attention weights (official: alpha_drop).
        drop_path: of whole branches, per structure.
        dropout: of whole channels of a branch, per atom (official: proj_drop).
        weight_init: "uniform" or "normal", as published for the larger and the first networks.
        recompute: what lies inside of blocks is made again in the backward pass.
    """

    @record_arguments
    def __init__(
        self,
        dim: int = 128,
        depth: int = 12,
        lmax: int = 6,
        mmax: int = 2,
        *,
        heads: int = 8,
        hidden: int = 64,
        alphas: int = 64,
        values: int = 16,
        feed_forward: int = 128,
        edge_channels: int = 128,
        norm: NormKind = "layer_norm_sh",
        activation: Activation = "separable_s2",
        feed_forward_activation: Activation | None = None,
        grid_mlp: bool = True,
        grid_resolution: int | None = 18,
        atom_edge_embedding: bool = True,
        share_atom_edge_embedding: bool = False,
        share_radial: bool = False,
        renorm: bool = True,
        elements: int = 90,
        basis: int = 600,
        cutoff: float = 12.0,
        max_neighbors: int | None = 20,
        average_atoms: float = 77.81317,
        average_degree: float = 23.395238876342773,
        energy_references: bool = False,
        forces: Forces = "direct",
        stress: Stress = "none",
        envelope: int | None = None,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        weight_init: WeightInit = "uniform",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, depth=depth, lmax=lmax, heads=heads, hidden=hidden, alphas=alphas)
        at_least(1, values=values, feed_forward=feed_forward, edge_channels=edge_channels)
        at_least(1, elements=elements)
        at_least(2, basis=basis)
        at_least(0, mmax=mmax)
        if mmax > lmax:
            raise ValueError(f"mmax is {mmax}, but must not be larger than lmax, {lmax}")
        one_of("norm", norm, ("layer_norm", "layer_norm_sh", "rms_norm_sh"))
        one_of("activation", activation, ("separable_s2", "s2", "gate"))
        inner = feed_forward_activation or activation
        one_of("feed_forward_activation", inner, ("separable_s2", "s2", "gate"))
        one_of("forces", forces, ("direct", "conservative", "none"))
        one_of("stress", stress, ("none", "both", "target"))
        if stress != "none" and (forces == "conservative" or lmax < 2):
            why = "conservative forces come with the virial" if lmax > 1 else f"lmax is {lmax}"
            raise ValueError(f"stress is {stress!r}, but {why}: choose none")
        one_of("weight_init", weight_init, ("uniform", "normal"))
        fraction(attention_dropout=attention_dropout, drop_path=drop_path, dropout=dropout)
        if grid_mlp and inner == "gate":
            raise ValueError(
                "grid_mlp needs feed_forward_activation separable_s2 or s2, not gate: its maps act "
                "on a grid"
            )
        for name, value in (("cutoff", cutoff), ("average_degree", average_degree)):
            if not value > 0:
                raise ValueError(f"{name} is {value}, but must be positive")
        for name, value in (("grid_resolution", grid_resolution), ("envelope", envelope)):
            if value is not None:
                at_least(1, **{name: value})
        if max_neighbors is not None:
            at_least(1, max_neighbors=max_neighbors)
        self.elements, self.cutoff, self.max_neighbors = elements, float(cutoff), max_neighbors
        self.average_atoms, self.forces, self.envelope = average_atoms, forces, envelope
        self.recompute = recompute
        layout = Layout(lmax, mmax)
        sizes = Sizes(
            layout=layout,
            edge_grid=SphereGrid(layout, grid_resolution, edges=True),
            node_grid=SphereGrid(layout, grid_resolution, edges=False),
            channels=dim,
            heads=heads,
            hidden=hidden,
            alphas=alphas,
            values=values,
            feed_forward=feed_forward,
            edge_channels=edge_channels,
            norm=norm,
            activation=activation,
            feed_forward_activation=inner,
            grid_mlp=grid_mlp,
            share_radial=share_radial,
            renorm=renorm,
            basis=basis,
            elements=elements if atom_edge_embedding and not share_atom_edge_embedding else 0,
            shared=atom_edge_embedding and share_atom_edge_embedding,
            attention_dropout=attention_dropout,
            recompute=recompute,
        )
        self.wigner, self.gaussians = Wigner(layout), Gaussians(cutoff, basis)
        self.atoms = nn.Embedding(elements, dim)
        self.references: Tensor | None
        self.register_buffer("references", torch.zeros(elements) if energy_references else None)
        self.pair = ElementPair(elements, edge_channels) if sizes.shared else None
        radial = sizes.radial((lmax + 1) * dim)
        self.edge_degree = EdgeDegree(layout, dim, radial, average_degree)
        self.blocks = nn.ModuleList(Block(sizes, drop_path, dropout) for _ in range(depth))
        self.norm = EquivariantNorm(layout, dim, norm)
        self.energy_head = sizes.feed_forward_map(1)
        self.force_head = sizes.attention(1, vector=True) if forces == "direct" else None
        start(self, weight_init)
        self.stress_head = None
        if stress != "none":
            self.stress_head = StressHead(layout, dim, norm, stress == "both")

    def forward(
        self,
        positions: Float[Tensor, "n 3"],
        atomic_numbers: Int[Tensor, " n"],
        edge_index: Int[Tensor, "2 e"],
        shifts: Float[Tensor, "e 3"] | None = None,
        *,
        batch: Int[Tensor, " n"] | None = None,
        structures: int | None = None,
        edge_rot_mat: Float[Tensor, "e 3 3"] | None = None,
    ) -> Energies:
        """Energies and forces of `structures` in one call, the same as of each alone.

        Args:
            positions: [Å].
            edge_index: neighbour (source) and atom (target) of each edge; see
                `surform.data.atoms_neighbors.neighbor_list`. shifts: of the neighbour's image [Å].
            batch: the structure that each atom belongs to, 0 ... structures - 1; None: one.
            structures: their number; None: one, or as many as `batch` names.
            edge_rot_mat: frames of the edges instead of our own, rows (z', direction, y').

        Raises:
            ValueError, TypeError: shapes or dtypes that do not fit; on a CPU also an atomic number
                without a row, atoms or structures that do not exist, edges of length 0.
        """
        check_graph(positions, atomic_numbers, edge_index, shifts, batch, edge_rot_mat)
        self._check_elements(atomic_numbers)
        if structures is None:
            structures = 1 if batch is None else int(batch.max()) + 1 if batch.shape[0] else 0
        batch = torch.zeros_like(atomic_numbers) if batch is None else batch
        dtype = self.atoms.weight.dtype
        if positions.dtype != dtype:
            raise TypeError(f"positions are {positions.dtype}, but this network is in {dtype}")
        check_nodes(edge_index, batch, structures)
        source, target = edge_index.unbind()
        vectors = positions[source] - positions[target]
        vectors = vectors if shifts is None else vectors + shifts
        check_vectors(edge_index, vectors, edge_rot_mat)
        call = (atomic_numbers, edge_index, edge_rot_mat, batch, structures)
        if self.forces != "conservative":
            return self._from_vectors(vectors, *call)
        return self._conservative(vectors, *call)

    def _conservative(
        self,
        vectors: Tensor,
        atomic_numbers: Tensor,
        edge_index: Tensor,
        edge_rot_mat: Tensor | None,
        batch: Tensor,
        structures: int,
    ) -> Energies:
        """Everything depends on positions and cells through the vectors along the edges alone."""
        if torch.compiler.is_exporting():
            raise ValueError(
                "torch.export does not trace gradients: a network with conservative forces cannot "
                "be exported, one with direct forces can"
            )
        if torch.is_inference_mode_enabled():  # whose tensors know no gradients at all
            call = (vectors, atomic_numbers, edge_index, edge_rot_mat, batch)
            with torch.inference_mode(False), torch.no_grad():
                fresh: list[Any] = [None if each is None else each.clone() for each in call]
                return self._conservative(*fresh, structures=structures)
        twice = torch.is_grad_enabled()
        with torch.enable_grad():
            if not vectors.requires_grad:
                vectors = vectors.detach().requires_grad_()
            found = self._from_vectors(
                vectors, atomic_numbers, edge_index, edge_rot_mat, batch, structures
            )
            (slope,) = torch.autograd.grad(
                found.energy.sum(), vectors, create_graph=twice, materialize_grads=True
            )
        pulls = vectors[:, :, None] * slope[:, None, :]
        if not twice:
            vectors, slope, pulls = vectors.detach(), slope.detach(), pulls.detach()
        source, target = edge_index.unbind()
        forces = slope.new_zeros(batch.shape[0], 3)
        forces = forces.index_add(0, target, slope).index_add(0, source, slope, alpha=-1)
        virial = slope.new_zeros(structures, 3, 3).index_add(0, batch[target], pulls)
        virial = 0.5 * (virial + virial.transpose(1, 2))
        energy = found.energy if twice else found.energy.detach()
        return Energies(energy, forces, virial)

    def _from_vectors(
        self,
        vectors: Tensor,
        atomic_numbers: Tensor,
        edge_index: Tensor,
        edge_rot_mat: Tensor | None,
        batch: Tensor,
        structures: int,
    ) -> Energies:
        with torch.autocast(vectors.device.type, enabled=False):  # angles need their digits
            edges = self._edges(vectors, atomic_numbers, edge_index, edge_rot_mat)
        atoms = self.atoms(atomic_numbers)
        x = self.edge_degree(edges)
        x = torch.cat((x[:, :1] + atoms[:, None], x[:, 1:]), dim=1)
        for block in self.blocks:
            x = cast(Block, block)(x, edges, batch, structures)
        x = self.norm(x)
        per_atom = cast(EquivariantFeedForward, self.energy_head).invariant(x)[:, 0]
        per_atom = per_atom.to(vectors.dtype)  # sums of many atoms, under mixed precision too
        energy = per_atom.new_zeros(structures).index_add(0, batch, per_atom) / self.average_atoms
        if self.references is not None:
            energy = energy.index_add(0, batch, self.references[atomic_numbers])
        forces = stress = None
        if self.force_head is not None:
            forces = self.force_head(x, edges)[:, :, 0].to(vectors.dtype)
        if self.stress_head is not None:
            stress = self.stress_head(x, edges, batch, structures).to(vectors.dtype)
        return Energies(energy, forces, stress=stress)

    def _edges(
        self,
        vectors: Tensor,
        atomic_numbers: Tensor,
        edge_index: Tensor,
        edge_rot_mat: Tensor | None,
    ) -> Edges:
        in_pieces = self.recompute or not torch.is_grad_enabled()
        in_pieces = in_pieces and not torch.compiler.is_compiling()
        if in_pieces and bool((edge_index[1, 1:] < edge_index[1, :-1]).any()):
            order = edge_index[1].argsort(stable=True)
            vectors, edge_index = vectors[order], edge_index[:, order]
            edge_rot_mat = None if edge_rot_mat is None else edge_rot_mat[order]
        wide = torch.float32 if vectors.device.type == "mps" else torch.float64
        distance = vectors.to(wide).norm(dim=1)
        directions = vectors / distance.to(vectors.dtype)[:, None]
        attached = self.forces == "conservative"
        frames = self.wigner(directions, edge_rot_mat, attached=attached)
        smooth = None
        if self.envelope is not None:
            smooth = envelope(distance, self.cutoff, self.envelope).to(vectors.dtype)
        edges = Edges(
            source=edge_index[0],
            target=edge_index[1],
            elements=atomic_numbers,
            distance=distance,
            frames=frames,
            gaussians=self.gaussians,
            nodes=atomic_numbers.shape[0],
            envelope=smooth,
            atoms=None if self.pair is None else self.pair.tables(),
            recompute=self.recompute,
        )
        if in_pieces:
            edges.cut()
        return edges

    @property
    def undecayed(self) -> frozenset[str]:
        """Parameters that have no weight decay, beside biases: the weights of norms."""
        norms = (n for n, m in self.named_modules() if isinstance(m, EquivariantNorm))
        return frozenset(f"{name}.weight" for name in norms)

    def _check_elements(self, atomic_numbers: Tensor) -> None:
        if torch.compiler.is_compiling() or atomic_numbers.device.type != "cpu":
            return  # looking would wait for the device
        if not atomic_numbers.shape[0]:
            return
        least, most = (int(each) for each in torch.aminmax(atomic_numbers))
        if least < 0 or most >= self.elements:
            raise ValueError(
                f"atomic_numbers holds {least if least < 0 else most}, but this network knows 0 to "
                f"{self.elements - 1} only"
            )
