"""A trained tagger in fixed-point numbers of so many bits: made, calibrated, compared.

python -m surform.particles.emulation MODEL JETS --widths 16 8 6
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surform.data.jets_open import open_jets
from surform.data.jets_source import JetSource
from surform.hub.loading import load_model
from surform.particles.fixed_jetformer import FixedJetFormer
from surform.particles.jet_tagger import JetTagger
from surform.particles.jetformer import JetFormer
from surform.particles.roc import mean_area, roc_curves

__all__ = ["emulate", "main"]

_STEP = 1024  # jets in one call
_LOOKED_AT = 1024  # jets that the bits before the point are read off


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Print areas and accuracies in float32 and in fixed-point numbers."""
    parser = argparse.ArgumentParser(prog="python -m surform.particles.emulation")
    parser.add_argument("model", help="a saved tagger, or the name of a shipped one")
    parser.add_argument("jets", help="files of jets with classes; not those of training")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 8, 6], help="bits")
    given = parser.parse_args(arguments)
    try:
        model = load_model(given.model)
        if not isinstance(model, JetTagger) or model.description is None:
            raise ValueError(f"{given.model} is no trained tagger of jets")
        about = model.description
        jets = open_jets(given.jets, features=about.features, particles=about.particles)
        few = torch.from_numpy(jets.read(np.arange(min(len(jets), _LOOKED_AT))))
        print(f"{len(jets):,} jets   AUC  accuracy")
        print("float32    {:.4f}   {:.2%}".format(*_figures(model, jets)))
        for width in given.widths:
            found = _figures(emulate(model, few, width, width), jets)
            print(f"{width:>2} bits    {found[0]:.4f}   {found[1]:.2%}")
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    return 0


@torch.no_grad()
def _figures(model: JetTagger, jets: JetSource) -> tuple[float, float]:
    """Mean area under the ROC curves, and the share of jets whose class is found."""
    weight, labels = next(model.parameters()), torch.from_numpy(jets.labels)
    parts = [
        model.probabilities(torch.from_numpy(jets.read(numbers)).to(weight))
        for numbers in np.array_split(np.arange(len(jets)), -(-len(jets) // _STEP))
    ]
    chances = torch.cat(parts)
    right = (chances.argmax(1) == labels).float().mean()
    return mean_area(roc_curves(chances, labels)), float(right)


if __name__ == "__main__":
    sys.exit(main())
