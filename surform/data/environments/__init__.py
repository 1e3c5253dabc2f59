"""Worlds that a policy acts in, by Gymnasium's methods, and the processes that they live in.

An environment has `reset(seed=) -> (observation, info)`, `step(action) -> (observation, reward,
terminated, truncated, info)`, `observation_space`, `action_space`, `render()` and `close()`. Those
of this package also know an `instruction`, say in `info["success"]` whether the task is done, and
have an `expert()`. Nothing here imports a simulator before one is opened.
"""

from __future__ import annotations

__all__ = ["ENVIRONMENTS"]

# Strings, so that listing the names imports nothing.
ENVIRONMENTS: dict[str, str] = {
    "metaworld": "surform.data.environments.metaworld:MetaWorld",
    "point-reach": "surform.data.environments.point_reach:PointReach",
    "pusht": "surform.data.environments.pusht:PushT",
}
