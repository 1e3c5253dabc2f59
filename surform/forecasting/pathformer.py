"""Pathformer: transformers over patches of several sizes, chosen for each sample by a router."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.forecasting.pathformer_layer import AdaptiveMultiScale
from surform.forecasting.pathformer_patches import check_patches, fitting_patches
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, fraction
from surform.layers.revin import RevIN

__all__ = ["Pathformer"]


class Pathformer(nn.Module):
    """Forecasts all variates (b, l, v) -> (b, h, v) from patches whose size each sample chooses.

    Chen, Zhang, Cheng, Shu, Wang, Wen, Yang, Guo, "Pathformer: Multi-scale Transformers with
    Adaptive Pathways for Time Series Forecasting" (ICLR 2024), arXiv 2402.05956; official code
    decisionintelligence/pathformer@ea85d8293221.

    Deviations: the experts' outputs are combined without overflow; one expert per layer and batches
    of one sample work. Tensors inside are (features, time, variates, batch), the batch last.

    Args:
        lookback, horizon, variates: sizes that weights depend on. In configurations null, or
            nothing, stands for what the data give.
        patch_sizes: for each layer the patch sizes of its experts; all divide the look-back. None
            takes the published ones, ((16, 12, 8, 32), (12, 8, 6, 4), (8, 6, 4, 2)), where they do,
            and the nearest divisors elsewhere.
        top_k: experts that each sample takes; a layer with fewer gives all of them.
        dim: features per number of the series, even; also the heads between patches.
        mlp_ratio: hidden width of the feed-forward blocks over `dim`.
        residual: add each layer's input to its output.
        normalize: scale each sample and variate by its own mean and deviation (RevIN).
        batch_norm: batch norms in the experts.
        restore_order: put the inter-patch attention's output back in the order of its input; the
            published code and its weights scramble it.
        dropout: of embeddings, attention outputs and sums; ffn_dropout: in feed-forward blocks.
    """

    covariates: ClassVar[tuple[str, ...]] = ()
    from_data: ClassVar[tuple[str, ...]] = ("lookback", "horizon", "variates")

    @record_arguments
    def __init__(
        self,
        lookback: int = 96,
        horizon: int = 96,
        variates: int = 7,
        *,
        patch_sizes: Sequence[Sequence[int]] | None = None,
        top_k: int = 2,
        dim: int = 16,
        mlp_ratio: float = 4.0,
        residual: bool = False,
        normalize: bool = True,
        batch_norm: bool = False,
        restore_order: bool = False,
        dropout: float = 0.1,
        ffn_dropout: float = 0.2,
    ) -> None:
        super().__init__()
        at_least(1, lookback=lookback, horizon=horizon, variates=variates, top_k=top_k)
        at_least(2, dim=dim)
        fraction(dropout=dropout, ffn_dropout=ffn_dropout)
        hidden = round(dim * mlp_ratio)
        if dim % 2:
            raise ValueError(f"dim = {dim} must be even: attention inside patches has two heads")
        if hidden < 1:
            raise ValueError(f"mlp_ratio = {mlp_ratio} leaves no hidden channel at dim = {dim}")
        if patch_sizes is None:
            patch_sizes = fitting_patches(lookback, top_k)
        check_patches(patch_sizes, lookback, top_k)
        self.lookback, self.variates = lookback, variates
        self.revin = RevIN() if normalize else None
        self.lift = nn.Linear(1, dim)
        self.layers = nn.ModuleList(
            AdaptiveMultiScale(
                lookback,
                variates,
                dim,
                hidden,
                sizes,
                top_k,
                residual=residual,
                batch_norm=batch_norm,
                restore_order=restore_order,
                dropout=dropout,
                ffn_dropout=ffn_dropout,
            )
            for sizes in patch_sizes
        )
        self.head = nn.Linear(lookback * dim, horizon)

    def forward(self, history: Float[Tensor, "b l v"]) -> Float[Tensor, "b h v"]:
        """The forecast, in the units of the history."""
        return self.forecast_and_penalty(history)[0]

    def forecast_and_penalty(
        self,
        history: Float[Tensor, "b l v"],
        *,
        gate_noise: Sequence[Tensor] | None = None,
    ) -> tuple[Float[Tensor, "b h v"], Float[Tensor, ""]]:
        """The forecast, and what to add to the training loss for unbalanced use of the experts.

        gate_noise: for each layer standard normal numbers (b, experts), instead of drawn ones.
        """
        self._check(history)
        if self.revin is not None:
            history, statistics = self.revin.normalize(history)
        u = history.permute(1, 2, 0)  # (l, v, b)
        u = self.lift.weight.view(-1, 1, 1, 1) * u + self.lift.bias.view(-1, 1, 1, 1)
        penalty = u.new_zeros(())
        noises = self._noises(gate_noise)
        for layer, noise in zip(self.layers, noises, strict=True):
            u, cost = layer(u, noise)
            penalty = penalty + cost
        y = self._project(u)
        return (y if self.revin is None else self.revin.denormalize(y, statistics)), penalty

    def _noises(self, given: Sequence[Tensor] | None) -> Sequence[Tensor | None]:
        count = len(self.layers)
        if given is not None and len(given) != count:
            raise ValueError(f"gate_noise has {len(given)} tensors, but there are {count} layers")
        return [None] * count if given is None else given

    def _project(self, u: Float[Tensor, "d l v b"]) -> Float[Tensor, "b h v"]:
        weight = self.head.weight.unflatten(1, (-1, len(u))).transpose(1, 2).flatten(1)
        y = torch.addmm(self.head.bias.unsqueeze(1), weight, u.reshape(weight.shape[1], -1))
        return y.unflatten(1, u.shape[2:]).permute(2, 0, 1)

    def _check(self, history: Tensor) -> None:
        wanted = (self.lookback, self.variates)
        if history.ndim != 3 or tuple(history.shape[1:]) != wanted:
            raise ValueError(
                f"the history has shape {tuple(history.shape)}, but this Pathformer was built for "
                f"(batch, lookback, variates) = (b, {wanted[0]}, {wanted[1]})"
            )
