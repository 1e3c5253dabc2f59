"""neuraloperator's GINO behind surform's interface of operators on points, for the same loop."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surform.layers.arguments import record_arguments

__all__ = ["PointGINO"]

# The domain takes the middle of the latent unit square; the rim keeps what FNO wraps around away.
_RIM = 0.1


def _reduce_segments(
    source: Tensor, starts: Tensor, reduction: str, use_scatter: bool = False
) -> Tensor:
    """Sums or means over rows `starts[i]` to `starts[i + 1]` of `(..., rows, C)`."""
    bounds = starts.flatten() if starts.ndim == 1 else starts[0]
    counts = bounds.diff()
    place = torch.arange(len(counts)).repeat_interleave(counts)
    shape = (*source.shape[:-2], len(counts), source.shape[-1])
    found = source.new_zeros(shape).index_add(-2, place, source)
    return found / counts.clamp(min=1)[:, None] if reduction == "mean" else found


class PointGINO(nn.Module):
    """Li et al., "Geometry-Informed Neural Operator" (2023), arXiv 2309.00583, in the plane.

    The input integral reads the points of all input functions (their values, and which function);
    the latent grid gets the distance to each function's points, as the paper's signed distance, and
    the parameters. neuraloperator's GINO takes one geometry at a time, hence the loop.

    Args:
        side: the domain is [0, side] along each axis, in the units in which all points come
            (`data.normalize_points: none`).
    """

    @record_arguments
    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int = 1,
        parameters: int = 0,
        input_channels: Sequence[int] = (2,),
        side: float = 1.0,
        hidden: int = 32,
        modes: int = 16,
        grid: int = 32,
        radius: float = 0.07,
    ) -> None:
        super().__init__()
        self.dim, self.out_channels, self.side = in_channels, out_channels, side
        self.widest = max(input_channels) - in_channels
        functions = len(input_channels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # third-party imports deprecate things
            from neuralop.layers import integral_transform
            from neuralop.models import GINO

        # It is made for torch_scatter, which few can install; without, its loop over all points in
        # Python takes most of the time.
        integral_transform.segment_csr = _reduce_segments

        class PlainGINO(GINO):
            """GINO whose state holds tensors only; neuraloperator puts an object beside."""

            state_dict = nn.Module.state_dict
            load_state_dict = nn.Module.load_state_dict

        known = self.widest + functions
        self.gino = PlainGINO(
            in_channels=known,
            # the linear integral multiplies its kernel by one value per point
            in_gno_transform_type="linear" if known == 1 else "nonlinear_kernelonly",
            out_channels=out_channels,
            latent_feature_channels=functions + parameters,
            gno_coord_dim=in_channels,
            in_gno_radius=radius,
            out_gno_radius=radius,
            fno_in_channels=hidden,
            fno_n_modes=(modes,) * in_channels,
            fno_hidden_channels=hidden,
            fno_n_layers=4,
            in_gno_channel_mlp_hidden_layers=[64, 64],
            out_gno_channel_mlp_hidden_layers=[64, 64],
            gno_embed_channels=16,
            gno_use_open3d=False,
            gno_use_torch_scatter=False,
        )
        line = torch.linspace(0, 1, grid)
        axes = torch.meshgrid(*[line] * in_channels, indexing="ij")
        self.register_buffer("latent", torch.stack(axes, -1), persistent=False)

    def forward(
        self,
        points: Tensor,
        parameters: Tensor,
        inputs: Sequence[Tensor],
        *,
        mask: Tensor | None = None,
        input_masks: Sequence[Tensor | None] = (),
        weights: Tensor | None = None,
        input_weights: Sequence[Tensor | None] = (),
        chunk: int | None = None,
    ) -> Tensor:
        """As `surform.operators.gnot.GNOT`; weights and chunks are not used."""
        found = points.new_zeros(*points.shape[:2], self.out_channels)
        for sample in range(len(points)):
            keep = slice(None) if mask is None else mask[sample]
            functions = [
                rows[sample] if own is None else rows[sample][own[sample]]
                for rows, own in zip(inputs, input_masks or [None] * len(inputs), strict=True)
            ]
            found[sample, keep] = self._one(points[sample, keep], parameters[sample], functions)
        return found

    def _one(self, points: Tensor, parameters: Tensor, functions: list[Tensor]) -> Tensor:
        geometry, values = [], []
        for number, rows in enumerate(functions):
            geometry.append(self._placed(rows))
            own = rows.new_zeros(len(rows), self.widest + len(functions))
            own[:, : rows.shape[1] - self.dim] = rows[:, self.dim :]
            own[:, self.widest + number] = 1
            values.append(own)
        flat = self.latent.flatten(0, -2)
        near = [torch.cdist(flat, where).amin(1) for where in geometry]
        about = torch.cat([torch.stack(near, 1), parameters.expand(len(flat), -1)], 1)
        output = self.gino(
            torch.cat(geometry)[None],
            self.latent[None],
            self._placed(points)[None],
            x=torch.cat(values)[None],
            latent_features=about.view(1, *self.latent.shape[:-1], -1),
        )
        return output[0]

    def _placed(self, rows: Tensor) -> Tensor:
        """Where the rows' points lie in the latent unit square."""
        return _RIM + (1 - 2 * _RIM) * rows[:, : self.dim] / self.side
