"""How sure a model is: intervals for any trained model of any domain, and scores for them."""

from __future__ import annotations

from surform.uncertainty.conformal import Conformal
from surform.uncertainty.deep_ensemble import DeepEnsemble

__all__ = ["Conformal", "DeepEnsemble"]
