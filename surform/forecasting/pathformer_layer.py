"""One layer of Pathformer: a router, its experts of different patch sizes, and their combination.

The adaptive multi-scale block of Chen et al., ICLR 2024, arXiv 2402.05956, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.forecasting.pathformer_combination import Paths, combine
from surform.forecasting.pathformer_expert import Expert
from surform.forecasting.pathformer_intra import NodeWeights
from surform.forecasting.pathformer_router import Router, Routes

__all__ = ["AdaptiveMultiScale"]


class AdaptiveMultiScale(nn.Module):
    """(d, l, v, b) -> (d, l, v, b) and what the router's imbalance costs.

    Args:
        patch_sizes: one expert each; all divide the look-back.
        residual: add the input to the combined output.
        others: as in `Expert`.
    """

    def __init__(
        self,
        lookback: int,
        variates: int,
        dim: int,
        hidden: int,
        patch_sizes: Sequence[int],
        top_k: int,
        *,
        residual: bool,
        batch_norm: bool,
        restore_order: bool,
        dropout: float,
        ffn_dropout: float,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.router = Router(lookback, variates, len(patch_sizes), top_k)
        self.node_weights = NodeWeights([lookback // p for p in patch_sizes], variates, dim)
        self.experts = nn.ModuleList(
            Expert(
                lookback,
                dim,
                patch_size,
                hidden,
                batch_norm=batch_norm,
                restore_order=restore_order,
                dropout=dropout,
                ffn_dropout=ffn_dropout,
            )
            for patch_size in patch_sizes
        )

    def forward(
        self, u: Float[Tensor, "d l v b"], noise: Float[Tensor, "b e"] | None = None
    ) -> tuple[Float[Tensor, "d l v b"], Float[Tensor, ""]]:
        """noise: the router's, in place of drawn numbers."""
        routes: Routes = self.router(u[0], noise)  # looks at the first feature alone, as published
        if torch.compiler.is_compiling() or torch.compiler.is_exporting():
            out = self._every_expert(u, routes)
        else:
            out = self._chosen_experts(u, routes)
        out = out.to(u.dtype)
        return (u + out if self.residual else out), routes.penalty

    def _chosen_experts(self, u: Tensor, routes: Routes) -> Tensor:
        """Each expert on its own samples."""
        paths = Paths(routes.experts, len(self.experts))
        outputs = [
            expert(x, weights)
            for expert, x, weights in zip(
                self.experts, paths.dispatch(u), self.node_weights(), strict=True
            )
        ]
        return combine(paths.collect(outputs), routes.log_gates.t())

    def _every_expert(self, u: Tensor, routes: Routes) -> Tensor:
        """The same, each expert on all samples: no size depends on data, as compilers want it."""
        chosen = routes.experts.unsqueeze(-1) == torch.arange(len(self.experts), device=u.device)
        minus_infinity = torch.full_like(routes.log_gates, float("-inf")).unsqueeze(-1)
        log_gates = torch.where(chosen, routes.log_gates.unsqueeze(-1), minus_infinity).amax(1)
        taken = chosen.any(1)
        outputs = [
            expert(u, weights, taken[:, i])
            for i, (expert, weights) in enumerate(
                zip(self.experts, self.node_weights(), strict=True)
            )
        ]
        return combine(torch.stack(outputs, dim=-2), log_gates.t())
