"""A rollout of many trajectories at once, written, measured and watched as it goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from surform.data.description import FieldsDescription
from surform.data.outputs import sources_of
from surform.rollout.block import Block
from surform.rollout.corrections import Correction, bind_all
from surform.rollout.ensemble import Ensemble, rollout_members
from surform.rollout.observers import Observer
from surform.rollout.store import MADE_BY, Layout, Store, open_store
from surform.rollout.trajectories import Trajectories, coordinates
from surform.rollout.watch import Watch

__all__ = ["rollout_to"]

Progress = Callable[[int, int], None]


def rollout_to(
    out: str | os.PathLike[str] | None,
    model: nn.Module | Sequence[nn.Module],
    dataset: xr.Dataset,
    steps: int,
    *,
    observers: Sequence[Observer] = (),
    ensemble: Ensemble | None = None,
    corrections: Sequence[Correction] = (),
    batch_size: int = 8,
    start: int = 0,
    blow_up: float = 100.0,
    any_grid: bool = False,
    description: FieldsDescription | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Roll a model out from every trajectory of a dataset; labelled arrays in, labelled arrays out.

    Args:
        out: a folder `*.zarr` to write to, with memory independent of `steps`; None = in memory.
        model: in physical units, e.g. from `surform.load_model`; several make an ensemble.
        dataset: dims ("sample", "time", *axes) with the model's inputs and parameters. Frames after
            the input window are the truth that observers compare with, as far as they go.
        steps: frames to predict.
        observers: what to measure; their results become variables of the returned dataset.
        ensemble: perturbed copies of every initial window; adds the dim "member".
        corrections: what is done to every frame before it is kept and fed back, in this order.
        batch_size: trajectories (not members) per model call.
        start: first frame of the input window, counted in the model's time steps.
        blow_up: a run stops when a variable grows to this many times its initial size or is no
            longer finite; its later frames are NaN and the attribute "blow_up" says why.
        any_grid: accept another spacing or range of the grid than the trained ones.
        description: for models that carry none.
        progress: called with (frames done, frames in all).

    Returns:
        The predicted variables with time (continuing the data's), the data's coordinates,
        attributes and scalars per sample, the observers' results, and "blow_up_step" (-1 = none);
        lazy when `out` is a path.

    Raises:
        ValueError: the data do not fit the model (variables, units, time step, too few frames), a
            correction or an observer does not fit either, or `out` is where the data lie.
        FileExistsError: `out` holds something other than a rollout.
    """
    models = list(model) if isinstance(model, Sequence) else [model]
    if not models:
        raise ValueError("a rollout needs a model, and none is given")
    if steps < 1:
        raise ValueError(f"a rollout needs at least one step, got steps {steps}")
    if batch_size < 1:
        raise ValueError(f"a batch holds at least one sample, got batch_size {batch_size}")
    about = description or _description(models[0])
    course = Trajectories.of(dataset, about, start, any_grid)
    run = _Run(models, course, steps, list(observers), ensemble, list(corrections), blow_up)
    modes = [m.training for m in models]
    try:
        for m in models:
            m.eval()
        with open_store(out, run.layout(), sources_of(dataset)) as store:
            run.into(store, batch_size, progress or _silent)
    finally:
        for m, training in zip(models, modes, strict=True):
            m.train(training)
    return store.dataset()


class _Run:
    def __init__(
        self,
        models: list[nn.Module],
        course: Trajectories,
        steps: int,
        observers: list[Observer],
        ensemble: Ensemble | None,
        corrections: list[Correction],
        blow_up: float,
    ) -> None:
        self.models, self.course, self.steps = models, course, steps
        self.observers, self.blow_up = observers, blow_up
        self.corrections, self.correct = corrections, bind_all(corrections, course, models[0])
        self.labelled_members = ensemble is not None or len(models) > 1
        self.ensemble = ensemble or Ensemble(members=1, noise=0.0)
        self.members = len(models) * self.ensemble.members
        like = next((p for p in models[0].parameters() if p.is_floating_point()), torch.zeros(()))
        self.device, self.dtype = like.device, like.dtype
        self.reasons: list[str] = []

    def layout(self) -> Layout:
        grid = self.course.grid
        sizes = {"sample": self.course.samples}
        if self.labelled_members:
            sizes["member"] = self.members
        sizes |= {"time": self.steps} | dict(zip(grid.axes, grid.shape, strict=True))
        attributes = {
            name: {"units": grid.units.get(name, "1")} | self.course.dataset[name].attrs
            for name in grid.targets
        }
        kind = np.float64 if self.dtype == torch.float64 else np.float32
        return Layout(attributes, sizes, coordinates(self.course, self.steps), np.dtype(kind))

    def into(self, store: Store, batch_size: int, progress: Progress) -> None:
        for observer in self.observers:
            observer.prepare(self.course, self.steps)
        parts = []
        total = self.course.samples * self.steps
        for first in range(0, self.course.samples, batch_size):
            samples = slice(first, min(first + batch_size, self.course.samples))
            done = first * self.steps
            width = samples.stop - samples.start
            parts.append(self._chunk(store, samples, lambda n: progress(done + n * width, total)))  # noqa: B023
            progress(samples.stop * self.steps, total)
        store.add(self._measured(parts), self._attrs())

    def _chunk(self, store: Store, samples: slice, step_done: Callable[[int], None]) -> xr.Dataset:
        """One batch of trajectories through all steps."""
        initial = self.course.last_known(samples).to(self.device, self.dtype).unsqueeze(1)
        watch = Watch(initial, self.course.grid.targets, self.blow_up)
        for observer in self.observers:
            observer.start(self.course.grid, initial)
        self._recall(samples)
        block = Block(store, self.course, samples, self.layout())
        frames = self._frames(samples)
        for step, frame in enumerate(frames):
            fine = watch.check(frame, step)
            if not fine.all():
                frame = frame.masked_fill(~fine.view(*fine.shape, *[1] * (frame.ndim - 2)), np.nan)
            truth = block.truth(step)
            truth = None if truth is None else truth.to(self.device, self.dtype).unsqueeze(1)
            for observer in self.observers:
                observer.update(frame, truth)
            block.put(frame)
            step_done(step + 1)
            if not fine.any():
                break
        block.flush()
        self._explain(watch, samples)
        found = xr.merge([o.result(self.steps) for o in self.observers], join="exact")
        return found.assign(blow_up_step=(("sample", "member"), watch.steps(), {"units": "1"}))

    def _recall(self, samples: slice) -> None:
        """Show the frames before the rollout too, where it outlasts the data."""
        if self.steps <= self.course.known:
            return
        for frame in self.course.earlier(samples):
            for observer in self.observers:
                observer.recall(frame.to(self.device, self.dtype).unsqueeze(1))

    def _frames(self, samples: slice):
        inputs = self.course.inputs(samples).to(self.device, self.dtype)
        grid = self.course.grid
        copies = self.ensemble.perturb(inputs, len(grid.targets), samples.start)
        points = grid.coordinate_tensors(self.device, self.dtype)
        return rollout_members(self.models, copies, points, self.steps, len(inputs), self.correct)

    def _explain(self, watch: Watch, samples: slice) -> None:
        """Note for every run that ended when and why it did."""
        for (sample, member), (step, reason) in watch.ended.items():
            where = f"sample {samples.start + sample}"
            where += f", member {member}" if self.labelled_members else ""
            time = self.course.initial_time + self.course.time_step * (step + 1)
            self.reasons.append(f"{where}: step {step + 1} (time {time:.4g}): {reason}")

    def _measured(self, parts: list[xr.Dataset]) -> xr.Dataset:
        found = xr.concat(parts, dim="sample", data_vars="minimal", coords="minimal", join="exact")
        found = found if self.labelled_members else found.squeeze("member", drop=True)
        return found.merge(self._scalars(), join="override")

    def _scalars(self) -> xr.Dataset:
        """What the data say once per sample: a viscosity, a friction velocity."""
        data = self.course.dataset
        names = [n for n, array in data.data_vars.items() if array.dims in ((), ("sample",))]
        return data[names].reset_coords(drop=True).load()

    def _attrs(self) -> dict[str, Any]:
        from surform import __version__

        data = self.course.dataset.attrs
        net = getattr(self.models[0], "net", self.models[0])
        title = f"rollout of {type(net).__name__}, {self.steps} steps"
        attrs: dict[str, Any] = {
            **data,
            "made_by": MADE_BY,
            "title": f"{title}, from {data['title']}" if "title" in data else title,
            "surform_version": __version__,
            "blow_up": "; ".join(self.reasons) or "none",
            "initial_time": self.course.initial_time,
            "corrections": "; ".join(map(repr, self.corrections)) or "none",
        }
        if self.labelled_members:
            attrs |= {"noise": self.ensemble.noise, "noise_seed": self.ensemble.seed}
        return attrs


def _description(model: nn.Module) -> FieldsDescription:
    found = getattr(model, "description", None)
    if not isinstance(found, FieldsDescription):
        raise ValueError(
            f"{type(model).__name__} does not know which variables, axes and time step it was "
            "trained on: give `description`"
        )
    return found


def _silent(done: int, total: int) -> None:
    pass
