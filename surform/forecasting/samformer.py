"""SAMformer: one layer of attention between variates, trained by SAM (Ilbert et al., 2024)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform import attention
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.layers.revin import RevIN

__all__ = ["SAMformer"]


class SAMformer(nn.Module):
    """Forecasts by one attention head over whole variates and one linear map over time.

    Ilbert et al., "SAMformer: Unlocking the Potential of Transformers in Time Series Forecasting
    with Sharpness-Aware Minimization and Channel-Wise Attention" (ICML 2024), arXiv 2402.10198;
    official code romilbert/samformer@71f10eaa696f: its PyTorch version, or with `value_dim` the
    TensorFlow version that the paper's figures come from. Train it with
    `surform.training.sharpness.SharpnessAware`.

    x: history of each variate, normalised by RevIN. A = softmax(Q K^T / sqrt(dim)) between
    variates; forecast = W (x + A V) + b with V of the look-back's length, then RevIN's inverse.
    With `value_dim`, V has that width and a linear map takes A V to the look-back's length; all
    maps then begin as that version's do, uniform after Glorot and without bias.

    The maps over time run on the standardised history: RevIN's scale and shift, one pair per
    variate, follow them, so that training needs no gradient for the history. Where it costs less,
    W V is one matrix of shape (horizon, lookback). Both change the result by rounding only.

    Args:
        lookback, horizon: steps given and steps forecast.
        variates: their number; needed with `normalize`, which learns a scale and a shift for each.
            In configurations None stands for what the data give.
        dim: width of queries and keys.
        value_dim: width of the values, in the TensorFlow version `dim`; None for the look-back's
            length.
        normalize: normalise every history by its own mean and deviation (RevIN).
    """

    covariates: ClassVar[tuple[str, ...]] = ()
    from_data: ClassVar[tuple[str, ...]] = ("variates",)

    @record_arguments
    def __init__(
        self,
        lookback: int = 512,
        horizon: int = 96,
        variates: int | None = None,
        *,
        dim: int = 16,
        value_dim: int | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        at_least(1, lookback=lookback, horizon=horizon, dim=dim)
        if value_dim is not None:
            at_least(1, value_dim=value_dim)
        if variates is not None:
            at_least(1, variates=variates)
        elif normalize:
            raise ValueError(
                "variates is None, but must be their number: normalize learns a scale for each"
            )
        self.lookback, self.horizon, self.variates, self.dim = lookback, horizon, variates, dim
        self.revin = RevIN(variates) if normalize else None
        self.query = nn.Linear(lookback, dim)
        self.key = nn.Linear(lookback, dim)
        self.value = nn.Linear(lookback, value_dim or lookback)
        self.out = nn.Linear(value_dim, lookback) if value_dim else None
        self.head = nn.Linear(lookback, horizon)
        if value_dim:
            self._begin_as_keras_does()

    def forward(self, history: Float[Tensor, "b l v"]) -> Float[Tensor, "b h v"]:
        """history, forecast: standardised by the statistics of the training data, or not at all."""
        self._check(history)
        if self.revin is None:
            return self.normalized(history).transpose(1, 2)
        standard, statistics = self.revin.standardize(history)
        return self.revin.denormalize(self.normalized(standard).transpose(1, 2), statistics)

    def normalized(self, x: Tensor) -> Tensor:
        """(b, l, v) -> (b, v, h), in normalised units."""
        x = x.transpose(1, 2).contiguous()
        # The keys' bias moves all scores of a query alike, which no softmax sees: its gradient is
        # zero, and computed as zero it is not the rounding noise that Adam would blow up.
        still = 0 * self.key.bias
        if self._merging_pays(*x.shape[:2]):
            values = self.head.weight @ self.value.weight  # (h, l)
            shift = self.head.weight @ self.value.bias
            weights = (self.query.weight, self.key.weight, values, self.head.weight)
            biases = (self.query.bias, still, shift, self.head.bias)
            q, k, v, direct = self._over_time(x, weights, biases)
            return direct + _attend(q, k, v)
        weights = (self.query.weight, self.key.weight, self.value.weight)
        q, k, v = self._over_time(x, weights, (self.query.bias, still, self.value.bias))
        mixed = _attend(q, k, v)
        return self.head(self._scaled(x) + (mixed if self.out is None else self.out(mixed)))

    def _begin_as_keras_does(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def _over_time(
        self, x: Tensor, weights: tuple[Tensor, ...], biases: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Linear maps of RevIN's output, from what it is before its scale and shift: (b, v, l)."""
        weight, bias = torch.cat(weights), torch.cat(biases)
        sizes = [len(part) for part in weights]
        if self.revin is None:
            return F.linear(x, weight, bias).split(sizes, -1)
        shift = self.revin.bias[:, None] * weight.sum(1) + bias  # (v, o)
        return torch.addcmul(shift, F.linear(x, weight), self.revin.weight[:, None]).split(
            sizes, -1
        )

    def _scaled(self, x: Tensor) -> Tensor:
        if self.revin is None:
            return x
        return torch.addcmul(self.revin.bias[:, None], x, self.revin.weight[:, None])

    def _merging_pays(self, batch: int, variates: int) -> bool:
        """Whether values of the horizon's length save more products than W V costs.

        Each of the batch's histories saves (l - h) (l + v) in either pass, W V costs h l^2. An
        exported program must hold for every batch, so it does not choose.
        """
        if torch.compiler.is_exporting() or self.horizon >= self.lookback or self.out is not None:
            return False
        each = (self.lookback - self.horizon) * (self.lookback + variates)
        return batch * variates * each > self.horizon * self.lookback**2

    def _check(self, history: Tensor) -> None:
        fits = history.ndim == 3 and history.shape[1] == self.lookback
        if not fits or self.variates not in (None, history.shape[2]):
            wanted = "v" if self.variates is None else self.variates
            raise ValueError(
                f"history has shape {tuple(history.shape)}, but must be "
                f"(b, {self.lookback}, {wanted}): time before variates"
            )


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head between variates."""
    return attention.softmax(q[:, None], k[:, None], v[:, None])[:, 0]
