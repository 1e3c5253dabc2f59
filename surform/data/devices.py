"""Devices by name."""

from __future__ import annotations

import torch

from surform.data.faults import first_line

__all__ = ["available_device"]


def available_device(name: str | torch.device) -> torch.device:
    """The device of a name.

    Raises:
        ValueError: torch does not know it, or it is not there.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter of builds without CUDA
        reason = first_line(error).split(". ")[0]
        raise ValueError(f"device {str(name)!r} cannot be used: {reason}") from error
    return device
