"""A trained tagger in fixed-point numbers of so many bits: made, calibrated, compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surform.particles.fixed_jetformer import FixedJetFormer
from surform.particles.jet_tagger import JetTagger
from surform.particles.jetformer import JetFormer

__all__ = ["emulate"]

_STEP = 1024  # jets in one call


@torch.no_grad()
def emulate(
    model: JetTagger,
    particles: Tensor,
    weight_width: int = 8,
    activation_width: int = 8,
    rounding: str = "AP_RND",
    overflow: str = "AP_SAT",
) -> JetTagger:
    """The tagger with the same weights in a `FixedJetFormer`, ready to be used, saved or trained.

    Args:
        particles: (B, P, F) jets like those it will see, in physical units: every tensor gets as
            many bits before the binary point as their numbers need.
        rounding, overflow: of `FixedPoint`.

    Raises:
        ValueError: another network than JetFormer, layer norms, or no jets to look at.
    """
    if type(model.net) is not JetFormer:
        raise ValueError(f"a {type(model.net).__name__} is not emulated: take a JetFormer")
    if not len(particles):
        raise ValueError("particles holds no jets: bits before the point are read off some")
    given: dict[str, Any] = model.net.__dict__["arguments"]
    weight = next(model.parameters())
    net = FixedJetFormer(
        **given,
        weight_width=weight_width,
        activation_width=activation_width,
        rounding=rounding,
        overflow=overflow,
    ).to(weight)
    net.load_state_dict(model.net.state_dict(), strict=False)  # its quantizers are its own
    found = JetTagger(net).eval()
    found.normalizer, found.description = model.normalizer, model.description
    with net.calibrate():
        for start in range(0, len(particles), _STEP):
            found(particles[start : start + _STEP].to(weight))
    return found
