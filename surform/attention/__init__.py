"""How tokens mix: pure functions of tensors with heads split, one per kind of attention."""

from surform.attention.axial import axial
from surform.attention.fourier import fourier
from surform.attention.linear import linear
from surform.attention.softmax import softmax

__all__ = ["axial", "fourier", "linear", "softmax"]
