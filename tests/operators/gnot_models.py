"""Small GNOTs and what they are called with."""

from __future__ import annotations

import pytest
import torch

from surform.operators.gnot import CGPTNO, GNOT

SMALL = {
    "in_channels": 2,
    "out_channels": 3,
    "parameters": 2,
    "input_channels": (3, 4),
    "dim": 12,
    "depth": 2,
    "heads": 2,
    "mlp_depth": 1,
}
VARIANTS = [
    {"heads": 1, "activation": "tanh"},
    {"heads": 6, "activation": "relu", "mlp_depth": 0},
    {"input_channels": (), "parameters": 0, "activation": "sigmoid"},
    {"input_channels": (2,), "horiz_fourier_dim": 2, "depth": 1},
    {"in_channels": 5, "mlp_ratio": 1.5, "depth": 3},
]
MODELS = {"gnot": GNOT, "cgptno": CGPTNO}
both = pytest.mark.parametrize("name", MODELS)


def build(name="gnot", dtype=torch.float64, **options):
    torch.manual_seed(0)
    model = MODELS[name](**(SMALL | options)).to(dtype).eval()
    for p in model.parameters():  # norms, too
        p.data.add_(0.1 * torch.randn_like(p))
    return model


def sample(model, counts=(9, 5), inputs=None, dtype=torch.float64, seed=1):
    """Samples of these numbers of points, as keyword arguments; padding holds NaN."""
    g = torch.Generator().manual_seed(seed)

    def rows(lengths, channels):
        values = torch.full((len(lengths), max(lengths), channels), torch.nan, dtype=dtype)
        for i, n in enumerate(lengths):
            values[i, :n] = torch.randn(n, channels, generator=g, dtype=dtype)
        return values, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

    points, mask = rows(counts, model.in_channels)
    functions = [rows([n + j for n in counts[::-1]], c) for j, c in enumerate(model.input_channels)]
    return {
        "points": points,
        "parameters": torch.randn(len(counts), model.parameter_count, generator=g, dtype=dtype),
        "inputs": [f for f, _ in functions],
        "mask": mask,
        "input_masks": [m for _, m in functions],
    }


def alone(call, i):
    """Sample i of a batch without its padding."""
    keep = call["mask"][i]
    return {
        "points": call["points"][i : i + 1, keep],
        "parameters": call["parameters"][i : i + 1],
        "inputs": [
            f[i : i + 1, m[i]] for f, m in zip(call["inputs"], call["input_masks"], strict=True)
        ],
    }


def full(model, counts=(7, 7), **options):
    """Samples without padding."""
    call = sample(model, counts, **options)
    call["inputs"] = [f[:, : min(counts)] for f in call["inputs"]]
    return {k: v for k, v in call.items() if "mask" not in k}


def count(model):
    return sum(p.numel() for p in model.parameters())
