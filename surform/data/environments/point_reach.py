"""Point-reach: a point in a square goes to the disc that it is told; in NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from surform.data.environments.discs import draw_discs
from surform.data.environments.spaces import Box, Dict
from surform.data.faults import closest

__all__ = ["PointReach"]

_COLORS = {"red": (208, 60, 50), "green": (60, 150, 80), "blue": (60, 100, 200)}
_AGENT = (40, 40, 45)
_STEP = 0.1  # way of an action of length 1
_RADIUS = 0.1  # of discs; whose centre is nearer than this is there
_AGENT_RADIUS = 0.07
_INSIDE = 0.85  # discs lie in [-0.85, 0.85]²
_APART = 0.4  # least distance between discs, and between a disc and the start


class PointReach:
    """Discs of several colors in the square [-1, 1]², and a point that moves.

    Observations: `state` (8,): the point's x and y, then those of the red, the green and the blue
    disc; with `image_size` also `image` (size, size, 3) uint8. Actions (2,) in [-1, 1] move the
    point by a tenth of them. The task is done when the point is on its disc, which does not end the
    episode; it is truncated after 50 steps. The reward is the distance, negative.

    Args:
        task: color of the disc to go to.
        image_size: side of the picture [pixels]; None: no picture is observed.
        render_mode: "rgb_array", what `render` gives.
        render_size: side of what `render` gives [pixels].

    Raises:
        ValueError: no such disc, or a picture too small to see one.
    """

    TASKS = tuple(_COLORS)
    metadata: Mapping[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}
    max_episode_steps = 50

    def __init__(
        self,
        task: str = "red",
        image_size: int | None = None,
        render_mode: str | None = "rgb_array",
        render_size: int = 256,
    ) -> None:
        if task not in _COLORS:
            raise ValueError(f"point-reach has no task {task!r}: {closest(task, _COLORS)}")
        if image_size is not None and image_size < 16:
            raise ValueError(f"image_size is {image_size}, but discs are seen from 16 pixels on")
        self.task, self.image_size, self.render_size = task, image_size, render_size
        self.render_mode = render_mode
        self.instruction = f"go to the {task} disc"
        self.action_space = Box(-1, 1, (2,))
        seen = {"state": Box(-1, 1, (2 + 2 * len(_COLORS),))}
        if image_size is not None:
            seen["image"] = Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = Dict(seen)
        self._point, self._discs = np.zeros(2), np.zeros((len(_COLORS), 2))
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """A new episode, a function of the seed."""
        generator = np.random.default_rng(seed)
        places = [generator.uniform(-_INSIDE, _INSIDE, 2)]
        while len(places) < 1 + len(_COLORS):
            place = generator.uniform(-_INSIDE, _INSIDE, 2)
            if min(np.hypot(*(place - other)) for other in places) >= _APART:
                places.append(place)
        self._point, self._discs, self._steps = places[0], np.stack(places[1:]), 0
        return self._observation(), {"success": False}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Move; what is beyond [-1, 1] is cut off."""
        moved = self._point + _STEP * np.clip(np.asarray(action, np.float64), -1, 1)
        self._point, self._steps = np.clip(moved, -1, 1), self._steps + 1
        off = float(np.hypot(*(self._goal - self._point)))
        late = self._steps >= self.max_episode_steps
        return self._observation(), -off, False, late, {"success": off < _RADIUS}

    def render(self) -> np.ndarray:
        """A picture (render_size, render_size, 3) uint8."""
        return self._picture(self.render_size)

    def expert(self) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
        """What goes straight to the disc: observation in, action out."""
        row = 2 + 2 * list(_COLORS).index(self.task)

        def act(observation: Mapping[str, np.ndarray]) -> np.ndarray:
            state = observation["state"]
            return np.clip((state[row : row + 2] - state[:2]) / _STEP, -1, 1)

        return act

    def close(self) -> None:
        """Nothing is held."""

    @property
    def _goal(self) -> np.ndarray:
        return self._discs[list(_COLORS).index(self.task)]

    def _observation(self) -> dict[str, np.ndarray]:
        seen = {"state": np.concatenate([self._point, self._discs.ravel()]).astype(np.float32)}
        if self.image_size is not None:
            seen["image"] = self._picture(self.image_size)
        return seen

    def _picture(self, size: int) -> np.ndarray:
        discs = [(p, _RADIUS, c) for p, c in zip(self._discs, _COLORS.values(), strict=True)]
        return draw_discs([*discs, (self._point, _AGENT_RADIUS, _AGENT)], size)
