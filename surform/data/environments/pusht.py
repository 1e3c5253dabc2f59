"""PushT: a disc pushes a T to its place on the table, seen from above."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from surform.data.environments.spaces import Box, Dict
from surform.data.extras import require_extra

__all__ = ["PushT"]

_SIDE = 512.0  # of the field, in its pixels


class PushT:
    """gym-pusht's PushT (Chi et al., "Diffusion Policy", 2023, arXiv 2303.04137), at 10 Hz.

    Observations: `agent_pos` (2,) and `block_pose` (3,): x and y [pixels of a field of 512] and the
    T's angle [radians from 0 to 2 pi]; with `image_size` also `image` (size, size, 3) uint8.
    Actions (2,) are where the disc shall go, from 0 to 512. An episode is done when the T covers
    more than 95 % of its place, and truncated after 300 steps; `info["coverage"]` tells how much.

    Args:
        image_size: side of the picture [pixels]; None: no picture is observed.
        render_mode: "rgb_array", what `render` gives.
        render_size: side of what `render` gives [pixels].

    Raises:
        ImportError: without surform[simulators].
        ValueError: a size that cannot be.
    """

    TASKS = ("push-t",)
    metadata: Mapping[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}
    instruction = "push the T to its place"
    max_episode_steps = 300

    def __init__(
        self,
        task: str = "push-t",
        image_size: int | None = None,
        render_mode: str | None = "rgb_array",
        render_size: int = 256,
    ) -> None:
        if task not in self.TASKS:
            raise ValueError(f"PushT has one task, {self.TASKS[0]!r}, and no {task!r}")
        for name, size in (("image_size", image_size), ("render_size", render_size)):
            if size is not None and size < 16:
                raise ValueError(f"{name} is {size}, but must be at least 16")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        module = require_extra("gym_pusht.envs.pusht", "simulators", "PushT")
        self.task, self.image_size, self.render_mode = task, image_size, render_mode
        side = image_size or 96
        self._world = module.PushTEnv(
            obs_type="state" if image_size is None else "pixels_agent_pos",
            observation_width=side,
            observation_height=side,
            visualization_width=render_size,
            visualization_height=render_size,
        )
        self.action_space = Box(0, _SIDE, (2,))
        seen = {
            "agent_pos": Box(0, _SIDE, (2,)),
            "block_pose": Box(0, [_SIDE, _SIDE, 2 * np.pi], (3,)),
        }
        if image_size is not None:
            seen["image"] = Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = Dict(seen)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """A new episode, a function of the seed."""
        self._steps = 0
        seen, info = self._world.reset(seed=seed)
        return self._observation(seen, info), {"success": False}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Let the disc go towards a place for a tenth of a second."""
        self._steps += 1
        target = np.clip(np.asarray(action, np.float64), 0, _SIDE)
        seen, reward, done, _, info = self._world.step(target)
        late = not done and self._steps >= self.max_episode_steps
        told = {"success": bool(info["is_success"]), "coverage": float(info["coverage"])}
        return self._observation(seen, info), float(reward), bool(done), late, told

    def render(self) -> np.ndarray:
        """A picture (render_size, render_size, 3) uint8; a cross is where the disc shall go."""
        return self._world.render()

    def expert(self) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
        """A planner that tries pushes in a copy of the physics; deterministic."""
        from surform.data.environments.pusht_planner import PushPlanner

        return PushPlanner()

    def close(self) -> None:
        """Free the window of the simulator."""
        self._world.close()

    def _observation(self, seen: Any, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        x, y, angle = info["block_pose"]
        found = {
            "agent_pos": np.asarray(info["pos_agent"], np.float32),
            "block_pose": np.array([x, y, angle % (2 * np.pi)], np.float32),
        }
        if self.image_size is not None:
            found["image"] = seen["pixels"]
        return found
