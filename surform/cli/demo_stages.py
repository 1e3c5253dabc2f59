"""The stages of the demo: data, training, one-step errors, rollout, report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr
from rich.console import Console

from surform.cli.demo_checks import Check, check_rollout
from surform.cli.fit_config import read_config
from surform.rollout.drift import drifts

__all__ = ["Demo"]

_RECIPE = "operators/quickstart"
_SEED = 1_000_003  # of the test flow: never one that the training data are made with
_STEPS, _TRAJECTORIES, _STARTS = 200, 8, 20

# `--quick`: the same path with sizes that fit into a test.
_QUICK_DATA = {"samples": 4, "frames": 24, "grid": 32, "stride": 1, "spin_up": 0.5}
_QUICK_FIT = (
    "--data.split {train: 2, validation: 1, test: 1} --data.batch_size 2 "
    "--model.net.dim 16 --model.net.depth 1 --model.net.heads 2 --model.net.head_dim 8"
)
_QUICK_STEPS = 10


class Demo:
    """Everything the demo does, in `folder`; `run` returns the exit code."""

    def __init__(self, folder: Path, quick: bool = False) -> None:
        self.folder, self.quick = folder, quick
        self.console = Console(highlight=False)
        self.seconds: dict[str, float] = {}
        self.config = read_config(_RECIPE)
        data = self.config["data"]["init_args"]
        self.window = int(data["input_steps"])
        self.options = dict(data["generate"]) | (_QUICK_DATA if quick else {})
        self.steps = 20 if quick else _STEPS
        self.trajectories = 2 if quick else _TRAJECTORIES

    def run(self) -> int:
        began = time.monotonic()
        self._stage("data", "Kolmogorov flow by the built-in solver", self._generate)
        self._stage("training", f"a small FactFormer learns it ({_RECIPE})", self._fit)
        prediction, checks = self._stage(
            "rollout", f"{self.steps} steps, each from the one before", self._rollout
        )
        report = self._stage("report", "pictures", lambda: self._report(prediction, checks))
        self.console.print()
        for check in checks:
            self.console.print(check.line(judged=not self.quick), soft_wrap=True)
        for drift in drifts(prediction):
            told = f"{drift.name} over {self.steps} steps: [bold]{drift.mean()}[/bold]"
            self.console.print(f"{told}[dim]; {drift.reach()}; not judged[/dim]", soft_wrap=True)
        total = time.monotonic() - began
        self.console.print(f"\n{total / 60:.1f} minutes in all. Open the report in a browser:")
        self.console.print(f"  {report.resolve()}", soft_wrap=True)
        missed = [check for check in checks if not check.passed]
        if missed and not self.quick:
            self.console.print(f"\nmissed: {'; '.join(check.name for check in missed)}")
            return 1
        if self.quick:
            self.console.print("\n--quick is too short for a good model: figures are not judged.")
        return 0

    def _stage(self, name: str, what: str, work: Callable[[], Any]) -> Any:
        began = time.monotonic()
        self.console.print(f"[bold]{name}[/bold]: {what}")
        result = work()
        self.seconds[name] = time.monotonic() - began
        self.console.print(f"  [dim]{name}: {self.seconds[name]:.0f} s[/dim]")
        return result

    def _generate(self) -> None:
        import torch

        from surform.data.solvers.generate import generate

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the transforms of so small a grid lose by more
        options = dict(self.options)
        solver = options.pop("solver")
        generate(solver, self.folder / "train.zarr", progress=True, **options)
        # Trajectories of their own, long enough for the window and every step of the rollout.
        options |= {"samples": self.trajectories, "seed": _SEED}
        options["frames"] = self.window + self.steps
        generate(solver, self.folder / "test.zarr", progress=True, **options)
        torch.set_num_threads(threads)

    def _fit(self) -> None:
        import torch

        from surform.cli.demo_pace import BUDGET, pace
        from surform.cli.fit import run_raw

        run = self.folder / "run"
        if (run / "report.html").is_file():  # the last thing that a training writes
            self.console.print(f"  {run} is trained already; remove it to train anew")
            return
        threads, steps = torch.get_num_threads(), _QUICK_STEPS
        if not self.quick:
            side = int(self.options["grid"]) // int(self.options.get("stride", 1))
            wanted = int(self.config["trainer"]["max_steps"])
            threads, steps = pace(self.config, (side, side), wanted)
            self.console.print(
                f"  {steps} training steps, as many as this machine does in about "
                f"{BUDGET / 60:.0f} minutes (the recipe: {wanted}), on {threads} of its threads"
            )
        words = self._fit_words(steps)
        for which in ("best", "last"):  # of a demo that was interrupted; its own words hold
            if (run / "checkpoints" / f"{which}.ckpt").is_file():
                words = ["--ckpt_path", which]
        torch.set_num_threads(threads)
        code = run_raw("fit", [*words, "--out", str(run)])
        if code:
            raise ValueError(f"training ended with exit code {code}")

    def _fit_words(self, steps: int) -> list[str]:
        """What `surform fit` is told, apart from the run's folder."""
        words = ["--config", _RECIPE, "--data.path", str(self.folder / "train.zarr")]
        words += ["--data.generate", "null", "--trainer.max_steps", str(steps)]
        return words + (_words(_QUICK_FIT) if self.quick else [])

    def _rollout(self) -> tuple[xr.Dataset, list[Check]]:
        from surform.data.fields import open_fields
        from surform.data.solvers.progress import progress_bar
        from surform.hub import load_model
        from surform.rollout import Persistence, RelativeL2, Trajectories, rollout_to
        from surform.rollout.choose import observers_for

        self.model = load_model(self.folder / "run" / "model")
        data = open_fields(self.folder / "test.zarr")
        self.course = Trajectories.of(data, self.model.description)
        with progress_bar("rollout") as show:
            prediction = rollout_to(
                self.folder / "prediction.zarr",
                self.model,
                data,
                self.steps,
                observers=observers_for(self.course.grid),
                batch_size=self.trajectories,
                progress=lambda done, total: show(done / total),
            )
        starts = range(0, self.steps, max(self.steps // _STARTS, 1))
        observers = [RelativeL2(), Persistence(RelativeL2())]
        first_steps = [
            rollout_to(None, self.model, data, 1, observers=observers, start=s, batch_size=64)
            for s in starts
        ]
        joined = xr.concat(first_steps, "start", data_vars="all", join="override")
        return prediction, check_rollout(prediction, joined)

    def _report(self, prediction: xr.Dataset, checks: list[Check]) -> Path:
        from surform.cli.demo_report import write_demo_report

        summary = json.loads((self.folder / "run" / "summary.json").read_text(encoding="utf-8"))
        self.seconds["training"] = summary["seconds"]  # over all attempts
        facts = {
            "grid": " x ".join(map(str, self.course.grid.shape)),
            **{k: v for k, v in self.options.items() if k not in ("solver", "grid", "stride")},
            **{f"seconds for {name}": round(value, 1) for name, value in self.seconds.items()},
        }
        return write_demo_report(
            self.folder,
            self._fit_words(summary["steps"]),
            prediction,
            self.course.future(self.steps),
            checks,
            facts,
            summary,
            judged=not self.quick,
        )


def _words(line: str) -> list[str]:
    """Words of a command line, with {...} kept together."""
    import re

    return re.findall(r"\{[^}]*\}|\S+", line)
