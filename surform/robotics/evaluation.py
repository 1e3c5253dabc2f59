"""What episodes in an environment came to, as numbers, a table and files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from surform.data.atomic import replacing
from surform.robotics.success_rate import wilson_interval

__all__ = ["Episode", "Evaluation"]


@dataclass
class Episode:
    """One episode.

    Attributes:
        task, seed: of its environment; "" where it has no tasks.
        steps: how long it was.
        reward: sum of the rewards, up to the end or the success.
        success: whether the task was done; None: the environment does not tell.
        coverage: the largest that was told; None: none was.
        ended: "success", "terminated", "truncated" by the environment, or "limit" of steps.
        clipped: share of the actions' numbers that were beyond the bounds, and cut.
        restarts: how often its process failed and it was begun again.
        film: file of its video.
    """

    task: str
    seed: int
    steps: int = 0
    reward: float = 0.0
    success: bool | None = None
    coverage: float | None = None
    ended: str = ""
    clipped: float = 0.0
    restarts: int = 0
    film: str | None = None


@dataclass
class Evaluation:
    """All episodes of a policy in an environment.

    Attributes:
        episodes: task by task, seed by seed.
        settings: what they depend on.
        strips: pictures of the filmed episodes, by their places in `episodes`: (h, w, 3) uint8.
    """

    episodes: list[Episode]
    settings: dict[str, Any] = field(default_factory=dict)
    strips: dict[int, list[Any]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """In their order."""
        return list(dict.fromkeys(episode.task for episode in self.episodes))

    @property
    def success_rate(self) -> float:
        """Share of the episodes that succeeded; NaN where the environment does not tell."""
        return self.summary()["success rate"]

    def summary(self, task: str | None = None) -> dict[str, Any]:
        """Figures of one task, or of all episodes: rate, its interval, means.

        The 95 % interval is Wilson's; over several tasks it takes all episodes for alike.
        """
        chosen = [e for e in self.episodes if task is None or e.task == task]
        known = [episode for episode in chosen if episode.success is not None]
        successes = sum(bool(episode.success) for episode in known)
        low, high = wilson_interval(successes, len(known)) if known else (math.nan, math.nan)
        coverage = [e.coverage for e in chosen if e.coverage is not None]
        return {
            "episodes": len(chosen),
            "successes": successes,
            "success rate": successes / len(known) if known else math.nan,
            "low": low,
            "high": high,
            "mean return": _mean([episode.reward for episode in chosen]),
            "mean steps": _mean([float(episode.steps) for episode in chosen]),
            "mean coverage": _mean(coverage),
        }

    def rows(self) -> list[dict[str, Any]]:
        """The table: one row for each task, and one for all where there are several."""
        names = self.tasks
        rows = [{"task": name or "–", **self.summary(name)} for name in names]
        return rows + ([{"task": "all", **self.summary()}] if len(names) > 1 else [])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `results.json` holds them."""
        rows = {name or "all": self.summary(name) for name in self.tasks}
        return _plain(
            {
                "settings": self.settings,
                "all": self.summary(),
                "tasks": rows,
                "episodes": [asdict(episode) for episode in self.episodes],
            }
        )

    def write(self, path: str | Path) -> Path:
        """Write everything as JSON; returns the path."""
        target = Path(path)
        with replacing(target) as new:
            new.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        return target


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
