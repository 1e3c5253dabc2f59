"""GNOT and CGPTNO: operator transformers on point clouds with any input functions (Hao, 2023)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import ClassVar, Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.blocking import works_in_blocks
from surform.layers.checks import at_least, fraction, one_of
from surform.operators.expert_blocks import ACTIVATIONS
from surform.operators.gnot_layers import Layer, Octaves, ResidualMLP
from surform.operators.point_checks import (
    check_inputs,
    check_mask,
    check_parameters,
    check_points,
    check_weights,
)

__all__ = ["CGPTNO", "GNOT"]

Activation = Literal["gelu", "relu", "tanh", "sigmoid"]
_PIECE = 1024  # points per thread in inference on a CPU: what a piece needs stays in the caches


@dataclass
class _Piece:
    """Some of the query points on their way through the layers."""

    start: int
    x: Tensor
    positions: Tensor | None
    mask: Tensor | None
    weights: Tensor | None
    gates: Tensor | None = None
    q: Tensor = field(init=False)

    def enter(self, layer: Layer, known: list[Tensor]) -> Tensor:
        """The sums over these points that the layer's self attention needs."""
        self.gates = None if self.positions is None else layer.gates(self.positions, self.start)
        self.x, self.q, own = layer.enter(self.x, known, self.gates, self.mask, self.weights)
        return own

    def leave(self, layer: Layer, total: Tensor) -> Tensor:
        """What the layer makes of these points; total: the sums over all of them."""
        self.x = layer.leave(self.x, self.q, total, self.gates)
        return self.x

    def between(self, before: Layer, total: Tensor, layer: Layer, known: list[Tensor]) -> Tensor:
        """Out of one layer, into the next."""
        self.leave(before, total)
        return self.enter(layer, known)


class _PointTransformer(nn.Module):
    """What GNOT and CGPTNO share; see there."""

    time_window: ClassVar[bool] = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        parameters: int,
        input_channels: Sequence[int],
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        mlp_depth: int,
        activation: str,
        dropout: float,
        attention_dropout: float,
        horiz_fourier_dim: int,
        quadrature: bool,
        legacy_padding: bool,
        recompute: bool,
        experts: int = 1,
        space_dim: int = 0,
        norm_after: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, out_channels=out_channels)
        at_least(1, dim=dim, depth=depth, heads=heads, experts=experts)
        at_least(0, parameters=parameters, mlp_depth=mlp_depth, horiz_fourier_dim=horiz_fourier_dim)
        for j, channels in enumerate(input_channels):
            at_least(1, **{f"input_channels[{j}]": channels})
        one_of("activation", activation, tuple(ACTIVATIONS))
        fraction(dropout=dropout, attention_dropout=attention_dropout)
        if dim % heads:
            raise ValueError(f"dim {dim} is not divisible by heads {heads}")
        hidden = round(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio {mlp_ratio} of dim {dim} leaves no hidden channel")
        if quadrature and legacy_padding:
            raise ValueError("quadrature weights leave padding out: legacy_padding must be off")
        self.in_channels, self.parameter_count = in_channels, parameters
        self.input_channels, self.space_dim = tuple(input_channels), space_dim
        self.quadrature, self.legacy_padding = quadrature, legacy_padding
        self.octaves = Octaves(horiz_fourier_dim) if horiz_fourier_dim else None
        width = (in_channels + parameters) * (self.octaves.width if self.octaves else 1)
        self.trunk = ResidualMLP(width, dim, dim, mlp_depth, activation)
        self.branches = nn.ModuleList(
            ResidualMLP(channels, dim, dim, mlp_depth, activation) for channels in input_channels
        )
        self.layers = nn.ModuleList(
            Layer(
                dim,
                heads,
                len(self.branches),
                hidden,
                experts=experts,
                space_dim=space_dim,
                norm_after=norm_after,
                activation=activation,
                dropout=dropout,
                attention_dropout=attention_dropout,
                recompute=recompute,
            )
            for _ in range(depth)
        )
        self.head = ResidualMLP(dim, dim, out_channels, mlp_depth)

    def forward(
        self,
        points: Float[Tensor, "b n c"],
        parameters: Float[Tensor, "b p"] | None = None,
        inputs: Sequence[Float[Tensor, "b _ _"]] = (),
        *,
        mask: Bool[Tensor, "b n"] | None = None,
        input_masks: Sequence[Tensor | None] | None = None,
        weights: Float[Tensor, "b n"] | None = None,
        input_weights: Sequence[Tensor | None] | None = None,
        chunk: int | None = None,
    ) -> Float[Tensor, "b n o"]:
        """The output at the query points; zero where `mask` is False.

        All numbers are normalised; coordinates come first in the points and in every input.

        Args:
            points: query points. parameters: numbers that hold for a whole sample.
            inputs: input functions, each on points of its own: rows [coordinates | values].
            mask, input_masks: True = keep, for samples padded to a common length.
            weights, input_weights: measures of the mesh that the points stand for; read with
                `quadrature` only, where points without a weight count alike.
            chunk: query points at a time: same result, memory for what lies between two layers
                only. None: chosen for a CPU's caches in inference, else all at once.

        Raises:
            ValueError: shapes that do not fit the constructor's arguments, with both.
        """
        masks = _one_each("input_masks", input_masks, inputs)
        measures = _one_each("input_weights", input_weights, inputs)
        self._check(points, parameters, inputs, mask, masks, weights, measures)
        if chunk is not None:
            at_least(1, chunk=chunk)
        points = _kept(points, mask)
        inputs = [_kept(f, keep) for f, keep in zip(inputs, masks, strict=True)]
        outside = mask
        if self.legacy_padding:
            mask, masks = None, [None] * len(masks)
        if not self.quadrature:
            weights, measures = None, [None] * len(measures)
        sums = self._input_sums(inputs, masks, measures)
        pieces = self._pieces(points, parameters, mask, weights, chunk)
        outputs = self._through_layers(pieces, sums)
        return _kept(outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1), outside)

    def _check(
        self,
        points: Tensor,
        parameters: Tensor | None,
        inputs: Sequence[Tensor],
        mask: Tensor | None,
        masks: Sequence[Tensor | None],
        weights: Tensor | None,
        measures: Sequence[Tensor | None],
    ) -> None:
        check_points(points, self.in_channels)
        check_parameters(parameters, len(points), self.parameter_count)
        check_inputs(inputs, self.input_channels, len(points))
        check_mask("mask", mask, points)
        check_weights("weights", weights, points)
        for j, f in enumerate(inputs):
            check_mask(f"input_masks[{j}]", masks[j], f)
            check_weights(f"input_weights[{j}]", measures[j], f)

    def _input_sums(
        self,
        inputs: Sequence[Tensor],
        masks: Sequence[Tensor | None],
        weights: Sequence[Tensor | None],
    ) -> list[list[Tensor]]:
        """What every layer needs of the input functions: they meet the network here only."""
        features = [branch(f) for branch, f in zip(self.branches, inputs, strict=True)]
        attentions = [layer.cross_attention for layer in self._each_layer()]
        return [attention.sums(features, masks, weights) for attention in attentions]

    def _pieces(
        self,
        points: Tensor,
        parameters: Tensor | None,
        mask: Tensor | None,
        weights: Tensor | None,
        chunk: int | None,
    ) -> list[_Piece]:
        """The query points, lifted, `chunk` at a time."""
        found = []
        for part in _parts(points, chunk):
            x = points[:, part]
            positions = x[..., : self.space_dim] if self.space_dim else None
            if parameters is not None:
                everywhere = parameters[:, None].expand(-1, x.shape[1], -1)
                x = torch.cat((x, everywhere), dim=-1)
            x = self.trunk(x if self.octaves is None else self.octaves(x))
            keep, measures = (None if t is None else t[:, part] for t in (mask, weights))
            found.append(_Piece(part.start, x, positions, keep, measures))
        return found

    def _through_layers(self, pieces: list[_Piece], sums: list[list[Tensor]]) -> list[Tensor]:
        """One walk over the pieces between any two self attentions."""
        layers = self._each_layer()
        total = _added(piece.enter(layers[0], sums[0]) for piece in pieces)
        for before, layer, known in zip(layers[:-1], layers[1:], sums[1:], strict=True):
            total = before.self_attention.finish(total)
            total = _added(piece.between(before, total, layer, known) for piece in pieces)
        total = layers[-1].self_attention.finish(total)
        return [self.head(piece.leave(layers[-1], total)) for piece in pieces]

    def _each_layer(self) -> list[Layer]:
        return [cast(Layer, layer) for layer in self.layers]


class GNOT(_PointTransformer):
    """Maps point clouds, parameters and input functions to functions; experts gated by position.

    Hao et al., "GNOT: A General Neural Operator Transformer for Operator Learning" (ICML 2023),
    arXiv 2302.14376; official code thu-ml/GNOT@5ee2e6925a43. Cost is linear in all numbers of
    points.

    Deviations, corrected here: padding is left out of all sums (`legacy_padding` lets the zeros
    take part, as the official code does); a single expert has no gate; `horiz_fourier_dim` works.
    As in the official code, not the paper, input functions add up and queries are added to what
    they attend to.

    Args:
        in_channels: columns of the query points, coordinates first.
        parameters: numbers that hold for a whole sample.
        input_channels: columns of every input function, coordinates included.
        mlp_ratio: width of experts and gate over `dim`. mlp_depth: residual layers of the maps
            into and out of the network.
        experts: feed-forward maps of every mixture.
        space_dim: leading columns of the points that the gate sees; None = all.
        activation: of everything but the last map, which has gelu.
        dropout: of both attention branches; attention_dropout: inside the self attention.
        horiz_fourier_dim: n > 0 puts cosines and sines of 2^-n ... 2^n times every column beside
            the columns of points and parameters.
        quadrature: weight keys by the measures of the mesh, so that sums over points become
            integrals (ours; off as published).
        legacy_padding: zeros of padded batches are keys, too: the official numbers for them.
        recompute: keep no hidden values for the backward pass (CPU): less memory, more time.
    """

    @record_arguments
    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int = 1,
        *,
        parameters: int = 0,
        input_channels: tuple[int, ...] = (),
        dim: int = 64,
        depth: int = 3,
        heads: int = 1,
        mlp_ratio: float = 4.0,
        mlp_depth: int = 3,
        experts: int = 3,
        space_dim: int | None = None,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        horiz_fourier_dim: int = 0,
        quadrature: bool = False,
        legacy_padding: bool = False,
        recompute: bool = False,
    ) -> None:
        at_least(1, in_channels=in_channels)
        space_dim = in_channels if space_dim is None else space_dim
        at_least(1, space_dim=space_dim)
        if space_dim > in_channels:
            raise ValueError(
                f"space_dim is {space_dim}, but the points have in_channels = {in_channels} columns"
            )
        super().__init__(
            in_channels,
            out_channels,
            parameters,
            input_channels,
            dim,
            depth,
            heads,
            mlp_ratio,
            mlp_depth,
            activation,
            dropout,
            attention_dropout,
            horiz_fourier_dim,
            quadrature,
            legacy_padding,
            recompute,
            experts,
            space_dim,
            norm_after=True,
        )


class CGPTNO(_PointTransformer):
    """GNOT without experts and gates: the model that its authors' script trains on flow fields.

    Same paper (arXiv 2302.14376), code and deviations as `GNOT`; feed-forward maps normalise
    their input.

    Args:
        mlp_ratio: width of the feed-forward maps over `dim`.
        others: as in `GNOT`.
    """

    @record_arguments
    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int = 1,
        *,
        parameters: int = 0,
        input_channels: tuple[int, ...] = (),
        dim: int = 64,
        depth: int = 3,
        heads: int = 1,
        mlp_ratio: float = 4.0,
        mlp_depth: int = 3,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        horiz_fourier_dim: int = 0,
        quadrature: bool = False,
        legacy_padding: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            parameters,
            input_channels,
            dim,
            depth,
            heads,
            mlp_ratio,
            mlp_depth,
            activation,
            dropout,
            attention_dropout,
            horiz_fourier_dim,
            quadrature,
            legacy_padding,
            recompute,
        )


def _parts(points: Tensor, chunk: int | None) -> list[slice]:
    """Slices of the query points."""
    b, n, _ = points.shape
    if chunk is None:
        if torch.is_grad_enabled() or not works_in_blocks(points):
            return [slice(0, n)]
        chunk = max(1, _PIECE * torch.get_num_threads() // max(b, 1))
    return [slice(start, min(start + chunk, n)) for start in range(0, n, chunk)] or [slice(0, n)]


def _added(parts: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, parts)


def _kept(values: Tensor, mask: Tensor | None) -> Tensor:
    """Zeros where the mask is False, whatever stands there."""
    return values if mask is None else values.masked_fill(~mask.unsqueeze(-1), 0.0)


def _one_each(
    name: str, values: Sequence[Tensor | None] | None, inputs: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    if values is None:
        return [None] * len(inputs)
    if len(values) != len(inputs):
        raise ValueError(f"{len(values)} {name} for {len(inputs)} input functions")
    return values
