"""Environments in which something is wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from surform.data.environments.point_reach import PointReach
from surform.data.environments.spaces import Box

STRANGE = "tests.data.environments.strange"


class Dying(PointReach):
    """Its process is killed, or hangs, at one step; only once where `mark` names a file."""

    def __init__(self, way: str = "killed", at: int = 3, mark: str = "", **options) -> None:
        super().__init__(**options)
        self.way, self.at, self.mark, self.taken = way, at, mark, 0

    def reset(self, *, seed=None, options=None):
        self.taken = 0
        if self.at == 0:
            self.die()
        return super().reset(seed=seed)

    def step(self, action):
        self.taken += 1
        if self.taken == self.at:
            self.die()
        return super().step(action)

    def die(self) -> None:
        if self.mark:
            if Path(self.mark).exists():
                return
            Path(self.mark).touch()
        if self.way == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.way == "left":
            os._exit(3)
        time.sleep(1000)


class Raising(PointReach):
    def __init__(self, at: int = 2, **options) -> None:
        super().__init__(**options)
        self.at, self.taken = at, 0

    def reset(self, *, seed=None, options=None):
        if self.at == 0:
            raise RuntimeError("the arm is not there")
        return super().reset(seed=seed)

    def step(self, action):
        self.taken += 1
        if self.taken == self.at:
            raise RuntimeError("the gripper broke")
        return super().step(action)


class Quiet(PointReach):
    """Says nothing of success, or of what is to be done, and does not end."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.instruction = None

    def step(self, action):
        observation, reward, _, _, _ = super().step(action)
        return observation, reward, False, False, {}


class Unfinite(PointReach):
    def step(self, action):
        observation, *rest = super().step(action)
        observation["state"][1] = np.nan
        return observation, *rest


class Buttons(PointReach):
    """Has actions that are no vectors."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.action_space = SimpleNamespace(n=4, shape=(), dtype=np.dtype(np.int64))


class Unseen(PointReach):
    """Renders nothing."""

    def __init__(self) -> None:
        super().__init__(render_mode=None)


class Gray(PointReach):
    """Renders pictures without colors."""

    def render(self):
        return super().render()[..., 0]


class Vector:
    """Observes one array, and knows no tasks: what many environments of Gymnasium are like."""

    def __init__(self, length: int = 5) -> None:
        self.length, self.steps = length, 0
        self.observation_space = Box(-9, 9, (3,))
        self.action_space = Box(-1, 1, (1,))
        self.metadata = {}

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.full(3, seed % 7, np.float64), {}

    def step(self, action):
        self.steps += 1
        done = self.steps == self.length
        return (
            np.full(3, self.steps, np.float64),
            float(action[0]),
            done,
            False,
            {"is_success": done},
        )

    def close(self) -> None:
        pass


class Bare:
    """Has only what is needed; rewards are arrays of one number, and success is not always told."""

    observation_space, action_space = Box(-9, 9, (3,)), Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(3), {"success": None}

    def step(self, action):
        self.steps += 1
        done = self.steps == 2
        return np.zeros(3), np.ones(1), False, False, {"success": True if done else None}


class OldStep(PointReach):
    """Answers as Gym once did."""

    def step(self, action):
        observation, reward, ended, _, info = super().step(action)
        return observation, reward, ended, info


class OldReset(PointReach):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class Rewarding(PointReach):
    """Gives several rewards at once."""

    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, np.zeros(2), *rest


class Hopeless(PointReach):
    """Its expert goes nowhere."""

    def expert(self):
        return lambda observation: np.zeros(2)
