"""What a process does that records demonstrations; it imports little, to start fast."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from surform.data.environments.opening import EnvironmentSource, open_environment
from surform.data.environments.seen import facts_of, named

__all__ = ["attempt"]

_MOST_STEPS = 1000

_open: dict[str, Any] = {}  # the last environment, by all that makes it


def attempt(
    seed: int, hold: int, which: tuple[EnvironmentSource, int]
) -> dict[str, np.ndarray] | None:
    """One episode, a function of the arguments alone; None where it failed.

    Args:
        seed: of all episodes together.
        hold: steps of success after which an episode that does not end is cut.
        which: the environment, and the number of the episode.

    Returns:
        actions (t, a), rewards (t), dones (t), obs/<name> (t, ...); the seed of the reset, the
        instruction, steps in a second (fps).

    Raises:
        ValueError: the environment has no expert.
    """
    source, number = which
    environment = _opened(source)
    start = _reset_seed(seed, source.task or "", number)
    observation, info = environment.reset(seed=start)
    if not callable(getattr(environment, "expert", None)):
        raise ValueError(f"{source.label} has no expert(): nobody can demonstrate")
    expert, facts = environment.expert(), facts_of(environment)
    seen: list[dict[str, np.ndarray]] = []
    actions, rewards, successes = [], [], 0
    for _ in range(_MOST_STEPS):
        seen.append(named(observation))
        action = np.asarray(expert(seen[-1]), np.float32)
        observation, reward, ended, late, info = environment.step(action)
        actions.append(action)
        rewards.append(float(reward))
        successes += bool(info.get("success"))
        if ended or late or successes >= hold:
            break
    if not successes:
        return None
    found = {f"obs/{name}": np.stack([each[name] for each in seen]) for name in seen[0]}
    dones = np.arange(len(actions)) == len(actions) - 1
    return found | {
        "actions": np.stack(actions),
        "rewards": np.array(rewards, np.float32),
        "dones": dones,
        "seed": np.array(start),
        "instruction": np.array(facts.instruction or ""),
        "fps": np.array(facts.fps),
    }


def _reset_seed(seed: int, task: str, number: int) -> int:
    """Far from the small seeds of evaluations, and another for every task."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(task.encode()), number])
    return int(sequence.generate_state(1)[0] >> 1)


def _opened(source: EnvironmentSource) -> Any:
    """The environment, which stays open until another one is asked for."""
    key = repr(source)
    if key not in _open:
        while _open:
            _open.popitem()[1].close()
        _open[key] = open_environment(source)
    return _open[key]
