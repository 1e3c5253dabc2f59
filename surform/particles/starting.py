"""Taggers that begin with the weights of a trained one, in fixed-point numbers perhaps."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.hub.loading import load_model
from surform.hub.partial import transfer
from surform.layers.evaluating import evaluating
from surform.particles.fixed_jetformer import FixedJetFormer
from surform.particles.jet_tagger import JetTagger

__all__ = ["begin_with"]


@torch.no_grad()
def begin_with(model: JetTagger, source: str, particles: Tensor) -> str:
    """Give a tagger all weights of another one that fit; returns what became of them.

    Args:
        source: whatever `load_model` takes: a folder, a name, hf://...
        particles: (B, P, F), jets that the bits of fixed-point numbers are read off, where the
            source has none.

    Raises:
        ValueError: no tagger, one of other features, or nothing of it fits.
    """
    other = load_model(source)
    if not isinstance(other, JetTagger):
        raise ValueError(f"{source} is no tagger of jets, but of the kind {other.kind}")
    mine, theirs = model.description, other.description
    if mine is not None and theirs is not None and mine.features != theirs.features:
        raise ValueError(
            f"{source} was trained with the features {', '.join(theirs.features)}, the jets have "
            f"{', '.join(mine.features)}"
        )
    found = transfer(other.net.state_dict(), model.net, source)
    rest = [name for name in found.fresh if not name.endswith(".integer")]
    said = f"Weights of {source}: {len(found.kept)} tensors"
    if isinstance(model.net, FixedJetFormer) and not isinstance(other.net, FixedJetFormer):
        with evaluating(model), model.net.calibrate():  # type: ignore[operator]
            model(particles.to(next(model.parameters())))
        said += f", bits before the point from {len(particles)} jets"
    return f"{said}; fresh: {', '.join(rest)}." if rest else f"{said}."
