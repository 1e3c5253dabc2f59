"""metrics.csv: one row per logged step, readable at any time, continued when a run resumes."""

from __future__ import annotations

import csv
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from surform.data.atomic import disk_full_error, replacing

__all__ = ["MetricsLogger"]

_FIRST = ("epoch", "step")


class MetricsLogger(Logger):
    """Flat rows of numbers with the columns epoch, step and whatever is logged.

    Args:
        folder: where metrics.csv lies; it may be set later, before training starts.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        super().__init__()
        self.folder = Path(folder) if folder else None
        self._rows: list[dict[str, str]] = []
        self._columns: list[str] = list(_FIRST)

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str | None:
        return str(self.folder) if self.folder else None

    @property
    def log_dir(self) -> str | None:
        return self.save_dir

    @property
    def path(self) -> Path:
        """The table."""
        if self.folder is None:
            raise ValueError("the metrics table has no folder yet")
        return self.folder / "metrics.csv"

    @rank_zero_only
    def continue_from(self, step: int) -> None:
        """Take over an earlier table up to `step`: what came after the checkpoint is run again."""
        if not self.path.is_file():
            return
        with self.path.open(newline="", encoding="utf-8") as stream:
            # A last row without its end was cut off, perhaps within its number.
            reader = csv.DictReader([line for line in stream if line.endswith("\n")])
            rows = list(reader)
            self._columns = list(reader.fieldnames or _FIRST)
        self._rows = [row for row in rows if row.get("step") and int(row["step"]) < step]
        self._rewrite()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {name: f"{float(value):.8g}" for name, value in metrics.items() if name != "epoch"}
        row["step"] = str(step or 0)
        if "epoch" in metrics:
            row["epoch"] = str(int(metrics["epoch"]))
        last = self._rows[-1] if self._rows else {}
        if last.get("step") == row["step"] and not set(last) & set(row) - set(_FIRST):
            last.update(row)  # validation figures join the training row of their step
            self._extend(row)
            self._rewrite()
            return
        self._rows.append(row)
        if self._extend(row) or not self.path.is_file():
            self._rewrite()
        else:
            self._append(row)

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: the resolved configuration is a file of its own."""

    def _append(self, row: Mapping[str, str]) -> None:
        """Add a row to the file, or nothing of it."""
        whole = self.path.stat().st_size
        try:
            with self.path.open("a", newline="", encoding="utf-8") as stream:
                csv.DictWriter(stream, self._columns).writerow(row)
        except OSError as error:
            os.truncate(self.path, whole)
            full = disk_full_error(error, self.path)
            if full is None:
                raise
            raise full from error

    def _extend(self, row: Mapping[str, str]) -> bool:
        new = [name for name in row if name not in self._columns]
        self._columns += new
        return bool(new)

    def _rewrite(self) -> None:
        with (
            replacing(self.path) as partial,
            partial.open("w", newline="", encoding="utf-8") as out,
        ):
            writer = csv.DictWriter(out, self._columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self._rows)
