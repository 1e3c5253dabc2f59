"""What the demo's model must reach, and whether it has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from surform.rollout.errors import correlation_time
from surform.rollout.summary import blow_ups

__all__ = ["Check", "check_rollout"]

_ERROR, _BETTER, _LONGER, _ALIKE = 0.05, 5.0, 2.0, 0.9


@dataclass(frozen=True)
class Check:
    """One requirement: what was measured, what it had to be, and how to read it."""

    name: str
    value: str
    wanted: str
    passed: bool
    note: str = ""

    def line(self, judged: bool = True) -> str:
        """One line for the terminal; what is not judged gets no mark."""
        reached = f"{self.name}: [bold]{self.value}[/bold]"
        if judged:
            mark = "[green]✓[/green]" if self.passed else "[red]✗[/red]"
            reached = f"{mark} {reached}, wanted {self.wanted}"
        return f"{reached}[dim]; {self.note}[/dim]"


def check_rollout(prediction: xr.Dataset, first_steps: xr.Dataset) -> list[Check]:
    """The demo's requirements.

    Args:
        prediction: the long rollout with errors, correlations and their persistence baselines.
        first_steps: one-step relative L2 from many starts, with persistence.
    """
    error = float(first_steps["vorticity_relative_l2"].mean())
    still = float(first_steps["vorticity_relative_l2_persistence"].mean())
    alike, alike_still = (
        _mean_time(prediction[f"vorticity_correlation{suffix}"], prediction, ends)
        for suffix, ends in (("", prediction["blow_up_step"]), ("_persistence", None))
    )
    bad, runs = blow_ups(prediction)
    steps = prediction.sizes["time"]
    times_better, times_longer = still / error, alike / alike_still
    return [
        Check(
            "one-step error (relative L2)",
            f"{error:.2%}",
            f"at most {_ERROR:.0%}",
            error <= _ERROR,
            f"repeating the last frame: {still:.2%}",
        ),
        Check(
            "better than persistence",
            f"{times_better:.1f}×",
            f"at least {_BETTER:.0f}×",
            times_better >= _BETTER,
            "one step, mean over many starts",
        ),
        Check(
            f"time with correlation > {_ALIKE}",
            f"{alike:.2f}",
            f"at least {_LONGER:.0f}× persistence",
            times_longer >= _LONGER,
            f"{times_longer:.1f}× as long as persistence ({alike_still:.2f})",
        ),
        Check(
            f"blow-up within {steps} steps",
            "none" if bad == 0 else f"{bad} of {runs} runs",
            "none",
            bad == 0,
            f"{runs} trajectories never seen in training",
        ),
    ]


def _mean_time(
    correlation: xr.DataArray, prediction: xr.Dataset, blow_up_step: xr.DataArray | None
) -> float:
    """Mean over trajectories; a correlation that never falls counts as far as it is known."""
    step = float(prediction["lead_time"][0])
    end = float(prediction["lead_time"][-1])
    when = correlation_time(correlation, _ALIKE, blow_up_step).values
    # The first frame below is one step later than the last one above.
    above = np.where(np.isfinite(when), when - step, end)
    return max(float(above.mean()), 1e-12)
