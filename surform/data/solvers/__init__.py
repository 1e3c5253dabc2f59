"""Batched solvers in torch that make training data; see `generate.generate` and docs/solvers.md."""

from __future__ import annotations

__all__ = ["SOLVERS"]

# Strings, so that listing the names imports nothing.
SOLVERS: dict[str, str] = {
    "burgers": "surform.data.solvers.burgers:burgers",
    "channel": "surform.data.solvers.channel:channel",
    "darcy": "surform.data.solvers.darcy:darcy",
    "darcy_inverse": "surform.data.solvers.darcy_inverse:darcy_inverse",
    "kolmogorov": "surform.data.solvers.kolmogorov:kolmogorov",
    "kuramoto_sivashinsky": "surform.data.solvers.kuramoto_sivashinsky:kuramoto_sivashinsky",
    "loads": "surform.data.solvers.loads:loads",
    "lorenz96": "surform.data.solvers.lorenz96:lorenz96",
    "navier_stokes": "surform.data.solvers.navier_stokes:navier_stokes",
    "smoke": "surform.data.solvers.smoke:smoke",
}
