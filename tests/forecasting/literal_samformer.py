"""SAMformer as the paper writes it, step by step: what the fast one is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.forecasting.samformer import SAMformer


def literal_forward(model: SAMformer, history: Tensor) -> Tensor:
    """history (b, l, v) -> forecast (b, h, v), every intermediate written out."""
    revin, x = model.revin, history
    if revin is not None:
        mean = history.detach().mean(1, keepdim=True)
        variance = history.detach().var(1, unbiased=False, keepdim=True)
        deviation = (variance + 1e-5).sqrt()
        x = (history - mean) / deviation * revin.weight + revin.bias
    x = x.transpose(1, 2)
    q, k, v = model.query(x), model.key(x), model.value(x)
    weights = torch.softmax(q @ k.transpose(1, 2) / model.dim**0.5, -1)
    y = model.head(x + weights @ v).transpose(1, 2)
    if revin is None:
        return y
    return (y - revin.bias) / (revin.weight + 1e-10) * deviation + mean
