"""Overlapping patches of a spectrogram, and how many of them there are."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["check_spectrograms", "grid_of", "pair", "patches_of"]


def pair(name: str, value: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """(along frequency, along time); ValueError unless they are two whole numbers >= 1."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or any(not isinstance(side, int) or side < 1 for side in both):
        raise ValueError(f"{name} is {value!r}, but must be one whole number >= 1, or two")
    return both[0], both[1]


def grid_of(
    mel_bins: int, frames: int, patch_size: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int]:
    """Patches along frequency and along time; ValueError where there is none."""
    sides = (("mel_bins", mel_bins), ("frames", frames))
    for (name, side), patch in zip(sides, patch_size, strict=True):
        if side < patch:
            raise ValueError(f"{name} is {side}, but a patch has {patch}: take smaller patches")
    rows = (mel_bins - patch_size[0]) // stride[0] + 1
    return rows, (frames - patch_size[1]) // stride[1] + 1


def patches_of(
    spectrograms: Float[Tensor, "b t f"], patch_size: tuple[int, int], stride: tuple[int, int]
) -> Float[Tensor, "b rows columns p q"]:
    """All patches as a view, (frequency, time) inside each; nothing is copied."""
    upright = spectrograms.transpose(1, 2)
    rows = upright.unfold(1, patch_size[0], stride[0])  # (b, rows, t, p)
    return rows.unfold(2, patch_size[1], stride[1])


def check_spectrograms(spectrograms: Tensor, mel_bins: int) -> None:
    """ValueError unless they are (batch, frames, mel_bins)."""
    if spectrograms.ndim != 3 or spectrograms.shape[2] != mel_bins:
        raise ValueError(
            f"spectrograms have shape {tuple(spectrograms.shape)}, but must be (batch, frames, "
            f"{mel_bins}): time first, as the network was built for {mel_bins} mel bins"
        )
