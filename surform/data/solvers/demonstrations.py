"""Demonstrations by scripted experts in simulated environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from surform.data.environments.opening import EnvironmentSource, tasks_of

__all__ = ["Demonstrated", "demonstrations"]

# what the samples are: episodes of demonstrations, each made by itself
DEMONSTRATIONS = True


@dataclass(frozen=True)
class Demonstrated:
    """What is to be demonstrated: an environment for each task, and how long success is held."""

    sources: tuple[EnvironmentSource, ...]
    hold: int


def demonstrations(
    *,
    env: str = "point-reach",
    task: str | None = None,
    image_size: int | None = None,
    camera: str | None = None,
    hold: int = 5,
) -> Demonstrated:
    """Let the expert of an environment act, and keep the episodes that succeed.

    Meta-World brings its scripted policies; PushT's expert plans pushes in a copy of the physics;
    that of point-reach goes straight. Recording goes on until success has been seen in `hold`
    steps, where the environment does not end with it. Every tenth episode of a task is in the mask
    "valid", the others are in "train".

    Args:
        env: point-reach, metaworld, pusht, or module:Class of an environment that has an expert().
        task: one or more, divided by commas; mt10: the ten of Meta-World's benchmark. All that the
            environment has, of Meta-World none.
        image_size: side of pictures that are recorded beside the state [pixels].
        camera: of these pictures, where the environment has several.
        hold: steps of success that are recorded. With more of them policies learn to come to rest
            at the goal, not at the rim of what counts as success.
    """
    if hold < 1:
        raise ValueError(f"hold is {hold}, but must be at least 1: a step in which success is seen")
    options: dict[str, Any] = {"image_size": image_size, "camera": camera}
    given = {name: value for name, value in options.items() if value is not None}
    tasks = tasks_of(env, None if task is None else [task])
    return Demonstrated(tuple(EnvironmentSource(env, each, given) for each in tasks), hold)
