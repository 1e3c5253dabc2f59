"""Batched solvers in torch that make training data; see `generate.generate` and docs/solvers.md."""

from __future__ import annotations

__all__ = ["SOLVERS"]

# Strings, so that listing the names imports nothing.
SOLVERS: dict[str, str] = {
    "burgers": "surform.data.solvers.burgers:burgers",
    "channel": "surform.data.solvers.channel:channel",
    "clicks": "surform.data.solvers.clicks:clicks",
    "darcy": "surform.data.solvers.darcy:darcy",
    "darcy_inverse": "surform.data.solvers.darcy_inverse:darcy_inverse",
    "demonstrations": "surform.data.solvers.demonstrations:demonstrations",
    "elasticity": "surform.data.solvers.elasticity:elasticity",
    "figures": "surform.data.solvers.figures:figures",
    "heat": "surform.data.solvers.heat:heat",
    "inductor2d": "surform.data.solvers.inductor2d:inductor2d",
    "jets": "surform.data.solvers.jets:jets",
    "kolmogorov": "surform.data.solvers.kolmogorov:kolmogorov",
    "kuramoto_sivashinsky": "surform.data.solvers.kuramoto_sivashinsky:kuramoto_sivashinsky",
    "listops": "surform.data.solvers.listops:listops",
    "loads": "surform.data.solvers.loads:loads",
    "lorenz96": "surform.data.solvers.lorenz96:lorenz96",
    "md": "surform.data.solvers.md:md",
    "navier_stokes": "surform.data.solvers.navier_stokes:navier_stokes",
    "ns2d-c": "surform.data.solvers.ns2d_c:ns2d_c",
    "pathfinder": "surform.data.solvers.pathfinder:pathfinder",
    "scene": "surform.data.solvers.scene:scene",
    "smoke": "surform.data.solvers.smoke:smoke",
    "sounds": "surform.data.solvers.sounds:sounds",
}
