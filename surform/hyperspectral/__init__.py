"""Hyperspectral scenes: transformers that tell the cover of each pixel, and their task."""
