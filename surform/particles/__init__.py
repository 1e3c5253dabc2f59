"""Particle jets: JetFormer, its training, and what of it remains in fixed-point numbers."""
