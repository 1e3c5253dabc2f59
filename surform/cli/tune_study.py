"""The trials of a tuning in its folder, as a study of Optuna that survives the end of its process.

Trials have places, from 0: what is drawn at a place depends on the seed, the place and the trials
before it, not on the process. A trial that its process did not finish is lost, and its place is
drawn anew, with the same values; one that is lost twice counts as failed.
"""

from __future__ import annotations

import math
import random
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import yaml
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from surform.cli.fit_config import SECTIONS
from surform.cli.fit_resume import disagreements
from surform.cli.tune_plan import Plan
from surform.hub.migrations import m2026_11_argument_names

__all__ = ["Row", "Study", "stored_plan"]

_LOG = "study.log"
_NAME = "surform tune"
_LOST = 2  # processes that may end within the same trial
_LOST_TWICE = "its process was ended twice (out of memory?)"

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Row(NamedTuple):
    """A finished trial. `figure` is NaN without one, `reason` tells why it failed."""

    place: int
    state: str  # completed, pruned or failed
    figure: float
    seconds: float
    values: dict[str, Any]
    reason: str


class Study:
    """The study of a folder, made anew where there is none; its only user holds the folder.

    Raises:
        ValueError: the folder holds trials of another plan.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        stored = stored_plan(folder)
        if stored:
            _require_same(stored, plan, folder)
        self._study = optuna.create_study(
            study_name=_NAME,
            storage=_storage(folder / _LOG),
            direction="maximize" if plan.greater else "minimize",
            pruner=MedianPruner(n_warmup_steps=2),  # never at the first validation
            load_if_exists=True,
        )
        if not stored:
            record = yaml.safe_dump(_record(plan), sort_keys=False)
            self._study.set_user_attr("plan", record)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)  # without a reason: lost

    @property
    def total(self) -> float:
        """The number of trials there can be."""
        size = 1.0
        for parameter in self.plan.space.values():
            size *= parameter.size()
        return size

    def next_place(self) -> int:
        """The first place without a finished trial."""
        done = {row.place for row in self.rows()}
        return next(place for place in range(len(done) + 1) if place not in done)

    def ask(self, place: int) -> tuple[optuna.Trial, dict[str, Any]]:
        """A new trial and its values: the recipe's own first, none twice."""
        seed, space = self.plan.seed + place, self.plan.space
        own = self.plan.own if place == 0 else None
        if own is None:
            sampler = TPESampler(seed=seed)
        else:
            sampler = _Given({key: space[key].stored(value) for key, value in own.items()})
        trial, values = self._draw(sampler)
        tried = [row.values for row in self.rows()]
        dice = random.Random(seed)
        while values in tried:  # of whole numbers and choices only
            self._study.tell(trial, state=TrialState.FAIL)
            drawn = {key: parameter.draw(dice) for key, parameter in space.items()}
            trial, values = self._draw(_Given(drawn))
        trial.set_user_attr("place", place)
        return trial, values

    def complete(self, trial: optuna.Trial, figure: float) -> None:
        """The trial reached a figure."""
        self._study.tell(trial, figure)

    def prune(self, trial: optuna.Trial) -> None:
        """The trial was stopped; what it reported last is its figure."""
        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """The trial ended without a figure."""
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def withdraw(self, trial: optuna.Trial) -> None:
        """The trial was not to blame for its end: its place is drawn anew."""
        trial.set_user_attr("withdrawn", True)
        self._study.tell(trial, state=TrialState.FAIL)

    @property
    def figure(self) -> str:
        """The name of the figure that decides, as runs log it."""
        names = (t.user_attrs.get("figure") for t in self._study.get_trials(deepcopy=False))
        return next(filter(None, names), f"validation/{self.plan.monitor}")

    def rows(self) -> list[Row]:
        """All finished trials in the order of their places."""
        lost: Counter[int] = Counter()
        rows = []
        for trial in self._study.get_trials(deepcopy=False):
            place = trial.user_attrs.get("place")
            if place is None or "withdrawn" in trial.user_attrs or not trial.state.is_finished():
                continue
            if trial.state is TrialState.FAIL and "reason" not in trial.user_attrs:
                lost[place] += 1
                if lost[place] < _LOST:
                    continue
            rows.append(_row(trial, place, self._values(trial)))
        return sorted(rows, key=lambda row: row.place)

    def best(self) -> Row | None:
        """The completed trial with the best figure, the first one of equals."""
        completed = [row for row in self.rows() if row.state == "completed"]
        sign = -1 if self.plan.greater else 1
        return min(completed, key=lambda row: sign * row.figure, default=None)

    def importances(self) -> dict[str, float]:
        """The share of each searched option in how the figures differ; {} of too few trials."""
        completed = [row for row in self.rows() if row.state == "completed"]
        enough = len(completed) >= 10 and len({row.figure for row in completed}) > 1
        if len(self.plan.space) < 2 or not enough:
            return {}
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        with warnings.catch_warnings():  # experimental before Optuna 5
            warnings.simplefilter("ignore")
            evaluator = PedAnovaImportanceEvaluator()
            return get_param_importances(self._study, evaluator=evaluator)

    def _draw(self, sampler: BaseSampler) -> tuple[optuna.Trial, dict[str, Any]]:
        self._study.sampler = sampler
        trial = self._study.ask()
        return trial, {key: p.suggest(trial) for key, p in self.plan.space.items()}

    def _values(self, trial: FrozenTrial) -> dict[str, Any]:
        return {key: p.loaded(trial.params[key]) for key, p in self.plan.space.items()}


class _Given(BaseSampler):
    """Values that are settled."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._given = values

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: Any
    ) -> Any:
        return self._given[param_name]


def stored_plan(folder: Path) -> dict[str, Any]:
    """What the folder of a tuning was begun with; {} where there is none."""
    file = folder / _LOG
    if not file.is_file():
        return {}
    _mend(file)
    try:
        study = optuna.load_study(study_name=_NAME, storage=_storage(file))
    except KeyError:  # its process ended before it wrote the first line
        return {}
    plan = yaml.safe_load(study.user_attrs.get("plan", "{}"))
    if plan:  # which may be of before
        plan["checked"] = _present(plan["checked"])
        plan["start"]["config"] = _present(plan["start"]["config"])
    return plan


def _present(config: dict[str, Any]) -> dict[str, Any]:
    return m2026_11_argument_names.run({"config": config})["config"]


def _storage(file: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(file), JournalFileOpenLock(str(file))))


def _mend(file: Path) -> None:
    """Remove what a process leaves that ends while it writes: half a line, and its lock."""
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    whole = file.read_bytes().rpartition(b"\n")
    if whole[2]:
        with open(file, "r+b") as log:
            log.truncate(len(whole[0]) + len(whole[1]))


def _record(plan: Plan) -> dict[str, Any]:
    return {
        "title": plan.title,
        "start": asdict(plan.start),
        "space": {key: parameter.text for key, parameter in plan.space.items()},
        "checked": plan.checked,
    }


def _require_same(stored: dict[str, Any], plan: Plan, folder: Path) -> None:
    """ValueError where a plan is not the one that a folder was begun with."""
    old, new = stored["space"], _record(plan)["space"]
    for name in old | new:
        if old.get(name) != new.get(name):
            raise ValueError(
                f"--search {name} was {old.get(name, 'left out')} in {folder} and is "
                f"{new.get(name, 'left out')} now: give no --search to go on as before, or choose "
                "another --out"
            )
    moved = disagreements(stored["checked"], plan.checked, SECTIONS)
    if moved:
        name, before, now = moved[0]
        raise ValueError(
            f"{name.replace('.init_args', '')} was {before!r} in {folder} and is {now!r} now: "
            "leave it out to go on as before, or choose another --out"
        )


def _row(trial: FrozenTrial, place: int, values: dict[str, Any]) -> Row:
    if trial.state is TrialState.FAIL:
        reason = trial.user_attrs.get("reason", _LOST_TWICE)
        return Row(place, "failed", math.nan, _seconds(trial), values, reason)
    state = "pruned" if trial.state is TrialState.PRUNED else "completed"
    figure = math.nan if trial.value is None else trial.value
    return Row(place, state, figure, _seconds(trial), values, "")


def _seconds(trial: FrozenTrial) -> float:
    lost = trial.state is TrialState.FAIL and "reason" not in trial.user_attrs
    return math.nan if lost or trial.duration is None else trial.duration.total_seconds()
