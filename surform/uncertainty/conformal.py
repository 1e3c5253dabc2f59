"""Split-conformal prediction: intervals that hold whatever the model, from its past errors.

Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World" (2005); Romano, Patterson, Candès,
"Conformalized quantile regression" (2019), arXiv 1905.03222, for signed residuals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from surform.hub.pretrained import Pretrained
from surform.uncertainty.residuals import (
    Residuals,
    check_levels,
    order_statistics,
    windows_needed,
)
from surform.uncertainty.wrapper import Wrapper, rebuild

__all__ = ["LEVELS", "Conformal", "restored"]

LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


class Conformal(Wrapper):
    """A model whose predictions carry quantiles of its errors on held-out data.

    For new data exchangeable with those of calibration, the interval between the levels a/2 and
    1 - a/2 covers the truth with probability at least 1 - a, at every position of the output on
    its own. Errors are signed, so that a biased model is corrected. Windows of one series overlap
    and are not quite exchangeable: look at the coverage that a backtest measures.

    Args:
        model: any trained model.
        levels: quantile levels to keep, increasing, symmetric about 0.5.
        scaled: measure errors in units of the spread of an ensemble (of `model.samples`), so
            that intervals widen where the members disagree.
        relative: measure errors in the unit that comes with each sample (`model.error_scale`), so
            that series of any size may be pooled. `calibrate` sets it where batches bring one.
    """

    kind: ClassVar[str] = "conformal"
    residuals: Tensor
    windows: Tensor

    def __init__(
        self,
        model: Pretrained,
        levels: Sequence[float] = LEVELS,
        scaled: bool = False,
        relative: bool = False,
    ) -> None:
        super().__init__(model)
        self.levels = check_levels(levels)
        if scaled and not hasattr(model, "samples"):
            raise ValueError(f"scaled=True needs an ensemble, {type(model).__name__} has no spread")
        self.model, self.scaled, self.relative = model, scaled, relative
        self.register_buffer("residuals", torch.zeros(len(self.levels)))
        self.register_buffer("windows", torch.zeros((), dtype=torch.int64))

    @property
    def wrapped(self) -> Pretrained:
        return self.model

    def settings(self) -> dict[str, Any]:
        return super().settings() | {
            "levels": list(self.levels),
            "scaled": self.scaled,
            "relative": self.relative,
            "shape": list(self.residuals.shape[1:]),
        }

    def calibrate(self, batches: Iterable[Any], most: int = 1 << 28) -> Conformal:
        """Learn the errors on held-out batches of the domain (not those of training).

        Args:
            batches: e.g. `data.val_dataloader()`; each has `targets` and suits `model.outputs`.
            most: errors held at once, in numbers; beyond it every second, third, ... window of a
                batch is left out.

        Raises:
            ValueError: no window, or too few for the outermost levels.
        """
        found = Residuals(most)
        training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                for batch in batches:
                    batch = batch.to(self._device())
                    self.relative = not self.scaled and self.model.error_scale(batch) is not None
                    output, unit = self._answer(batch)
                    error = batch.targets - output
                    if unit is not None:
                        error = error / unit
                    found.add(error, self.pooled_axes(error.ndim))
        finally:
            self.train(training)
        windows, errors = found.joined()
        needed = windows_needed(self.levels)
        if windows < needed:
            raise ValueError(
                f"{windows} windows are too few to calibrate the level {self.levels[0]:g}: give at "
                f"least {needed}, or levels nearer to 0.5"
            )
        self.residuals = order_statistics(errors, self.levels).to(self._device())
        self.windows = torch.tensor(windows, device=self._device())
        return self

    def outputs(self, batch: Any) -> Tensor:
        """The model's own outputs, unchanged."""
        return self.model.outputs(batch)

    def quantiles(self, batch: Any) -> Tensor:
        """`(levels, B, ...)`: quantiles of what is to come, in physical units."""
        return self.around(*self._answer(batch))

    def around(self, output: Tensor, unit: Tensor | None = None) -> Tensor:
        """`(levels, B, ...)`: the quantiles about outputs of the model.

        Args:
            output: `(B, ...)`, physical.
            unit: what errors are multiples of, where they are `scaled` (the spread of the
                ensemble's members) or `relative`; broadcasts against the outputs.

        Raises:
            ValueError: outputs of another shape than in calibration, or no unit.
        """
        self.require_calibration()
        if (self.scaled or self.relative) and unit is None:
            what = "the spread" if self.scaled else "the scale of each series"
            raise ValueError(f"errors were calibrated in units of {what}: give it")
        if self.residuals.ndim != output.ndim:
            raise ValueError(
                f"calibrated on outputs of {self.residuals.ndim} axes, these have {output.ndim}"
            )
        moved = self.residuals[:, None].to(output)
        for here, there in zip(moved.shape[2:], output.shape[1:], strict=True):
            if here not in (1, there):
                raise ValueError(
                    f"calibrated for outputs of {tuple(self.residuals.shape[1:])}, these are "
                    f"{tuple(output.shape[1:])}: predict as many steps as in calibration"
                )
        if self.scaled or self.relative:
            moved = moved * unit.to(output)  # type: ignore[union-attr]
        return output + moved

    def interval(self, batch: Any, coverage: float = 0.9) -> tuple[Tensor, Tensor]:
        """(lower, upper), each `(B, ...)`, that cover the truth with this probability."""
        low, high = self.level_pair(coverage)
        found = self.quantiles(batch)
        return found[low], found[high]

    def level_pair(self, coverage: float) -> tuple[int, int]:
        """Where the two levels of an interval stand among `levels`; ValueError names the known."""
        tail = (1 - coverage) / 2
        for low, level in enumerate(self.levels):
            if abs(level - tail) < 1e-9 and low < len(self.levels) - 1 - low:
                return low, len(self.levels) - 1 - low
        known = ", ".join(f"{1 - 2 * level:g}" for level in self.levels if level < 0.5)
        raise ValueError(f"no interval of coverage {coverage:g} was calibrated: choose {known}")

    def require_calibration(self) -> None:
        """ValueError before `calibrate`: intervals without it would be made up."""
        if not int(self.windows):
            raise ValueError("this model is not calibrated: call calibrate(batches) first")

    def require_statistics(self) -> None:
        self.model.require_statistics()
        self.require_calibration()

    def check_statistics(self) -> None:
        self.model.check_statistics()

    def _answer(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """The model's outputs, and what errors are measured in, if anything: one pass."""
        if not self.scaled:
            unit = self.model.error_scale(batch) if self.relative else None
            return self.model.outputs(batch), unit
        samples: Tensor = self.model.samples(batch)  # type: ignore[operator]
        spread = samples.std(0)
        return samples.mean(0), spread.clamp(min=torch.finfo(spread.dtype).eps)

    def _device(self) -> torch.device:
        return self.residuals.device


def restored(
    net: nn.Module,
    wraps: Mapping[str, Any],
    levels: Sequence[float],
    scaled: bool,
    shape: Sequence[int],
    relative: bool = False,
) -> Conformal:
    """The model whose `settings` these are, before its tensors are loaded."""
    model = Conformal(rebuild(net, wraps), levels, scaled, relative)
    model.residuals = torch.zeros(len(levels), *shape)
    return model
