"""Random numbers as a function of (seed, step, process), so that a resumed run draws the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np
import torch

__all__ = ["rewind", "seed_step"]


def seed_step(seed: int, step: int, rank: int = 0, device: torch.device | None = None) -> None:
    """Seed torch, numpy and random for one training step.

    Dropout, drop path and noise then need no stored generator state: a run that was killed and
    resumed anywhere draws exactly what the uninterrupted one draws.

    Args:
        device: that the step runs on; its generators are seeded beside that of the CPU.
    """
    words = np.random.SeedSequence((seed % 2**64, step, rank)).generate_state(2, np.uint64)
    # torch.manual_seed would keep a note, with a stack trace, for every kind of device that is not
    # in use: a millisecond per step, and memory that is never freed
    torch.default_generator.manual_seed(int(words[0]))
    if device is not None and device.type != "cpu":
        module = torch.get_device_module(device)
        getattr(module, "manual_seed_all", module.manual_seed)(int(words[0]))
    random.seed(int(words[1]))
    np.random.seed(int(words[1] % 2**32))  # noqa: NPY002  third-party code may draw from it


def rewind(devices: Iterable[torch.device]) -> Callable[[], None]:
    """What makes torch (on the CPU and `devices`), numpy and random draw from here once more."""
    generators = [torch.default_generator, *filter(None, map(_generator, devices))]
    states = [generator.get_state() for generator in generators]
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002

    def again() -> None:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)

    return again


def _generator(device: torch.device) -> torch.Generator | None:
    """A device's own default generator; None where it draws on the CPU's, or there is none."""
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    generators = getattr(torch.get_device_module(device), "default_generators", ())
    return generators[device.index or 0] if generators else None
