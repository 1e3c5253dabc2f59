"""What a tuning does: a configuration, the space searched around it, the figure that decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from surform.cli.fit_config import apply_overrides
from surform.cli.fit_resume import option_values
from surform.cli.lightning_cli import SurformCLI, resolve
from surform.cli.tune_space import Choices, Range, Space, word
from surform.training.metrics import GREATER_IS_BETTER

__all__ = ["Plan", "Start", "make_plan"]


@dataclass(frozen=True)
class Start:
    """A configuration and the overrides of the command line.

    Args:
        complete: whether it holds all defaults, and what the data give.
    """

    config: dict[str, Any]
    overrides: list[str]
    complete: bool = False

    def resolved(self, values: dict[str, Any]) -> dict[str, Any]:
        """All of it with some values."""
        words = [*self.overrides, *(word(key, value) for key, value in values.items())]
        return _on_one_device(resolve(self.config, words, self.complete))


@dataclass(frozen=True)
class Plan:
    """All that stays the same from trial to trial.

    Args:
        title: what the recipe is called.
        start: the configuration that the values of a trial are put into.
        space: what is searched.
        monitor: the figure of the validation split that decides.
        checked: the configuration, resolved, with the first values of the space.
        own: the recipe's own values of what is searched, where the space holds all of them.
    """

    title: str
    start: Start
    space: Space
    monitor: str
    checked: dict[str, Any]
    own: dict[str, Any] | None

    @property
    def greater(self) -> bool:
        """Whether the best trial is the one with the greatest figure."""
        return self.monitor in GREATER_IS_BETTER

    @property
    def seed(self) -> int:
        """Of the search, which follows that of training."""
        return int(self.checked.get("seed_everything") or 0)

    def with_values(self, values: dict[str, Any]) -> dict[str, Any]:
        """The resolved configuration of a trial."""
        return self.start.resolved(values)


def make_plan(title: str, start: Start, space: Space) -> Plan:
    """Check every searched option and its values, and build the model once.

    Raises:
        ValueError: there is nothing to search, an option does not exist, or a value does not fit.
    """
    if not space:
        raise ValueError("nothing to search: give --search model.optimizer.lr=log:1e-4:1e-2, say")
    apply_overrides({}, [word(key, None) for key in space])  # refuses sections that do not exist
    for key in option_values(apply_overrides({}, start.overrides)):
        if key in space:
            raise ValueError(f"{key} is given and searched: leave out --{key} or --search {key}")
    try:
        base = start.resolved({})
    except ValueError:  # incomplete without what is searched; if not, its error comes below
        base = None
    if base is not None and not any(key.startswith("data.") for key in space):
        start = Start(base, [], complete=True)  # what the data give does not change
    space = _with_reals(start, space)
    checked = _first_resolved(start, space)
    own = None if base is None else _own_values(base, space)
    monitor = SurformCLI(base or checked).model.monitor
    _refuse_moving_loss(monitor, space)
    return Plan(title, start, space, monitor, checked, own)


def _with_reals(start: Start, space: Space) -> Space:
    """The space with 0:1 as a range of reals where the option takes reals."""
    first = {key: parameter.ends()[0] for key, parameter in space.items()}
    found = dict(space)
    for key, parameter in space.items():
        if isinstance(parameter, Range) and parameter.whole:
            try:
                start.resolved(first | {key: parameter.low + 0.5})
            except ValueError:
                continue
            found[key] = parameter.of_reals()
    return found


def _first_resolved(start: Start, space: Space) -> dict[str, Any]:
    """Resolve the ends of all ranges and all choices; returns the first configuration."""
    ends = {key: parameter.ends() for key, parameter in space.items()}
    resolved = []
    for turn in range(max(map(len, ends.values()))):
        values = {key: values[min(turn, len(values) - 1)] for key, values in ends.items()}
        resolved.append(start.resolved(values))
    return resolved[0]


def _on_one_device(config: dict[str, Any]) -> dict[str, Any]:
    """A trial is one process: those that DDP starts would begin the whole command anew."""
    trainer = config.get("trainer") or {}
    devices = trainer.get("devices", "auto")
    one = devices in ("auto", None, 1, "1") or (isinstance(devices, list) and len(devices) == 1)
    if not one or trainer.get("num_nodes") not in (None, 1):
        raise ValueError(
            f"trainer.devices is {devices!r}, but a trial trains in one process: leave it out, and "
            "train the best configuration with it"
        )
    kept = devices if isinstance(devices, list) else 1
    return config | {"trainer": trainer | {"devices": kept}}


def _refuse_moving_loss(monitor: str, space: Space) -> None:
    for key in space if monitor == "loss" else ():
        if key == "model.loss" or key.startswith("model.loss."):
            raise ValueError(
                f"--search {key}: the loss is what trials are compared by; set --model.monitor to "
                "a metric"
            )


def _own_values(base: dict[str, Any], space: Space) -> dict[str, Any] | None:
    """The recipe's own values, None where the space does not hold all of them."""
    given = option_values(base)
    own = {key: _own_value(given, key, parameter) for key, parameter in space.items()}
    return own if all(space[key].holds(value) for key, value in own.items()) else None


def _own_value(given: dict[str, Any], key: str, parameter: Range | Choices) -> Any:
    """What the recipe says of an option; of a class, the choice that names it."""
    path = given.get(f"{key}.class_path")
    for value in parameter.ends() if path else ():
        named = option_values(apply_overrides({}, [word(key, value)]))
        if named.get(f"{key}.class_path") == path:
            return value
    return given.get(key)
