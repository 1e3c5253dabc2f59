"""A policy in its environment: episodes in processes, actions from the policy over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from surform.data.environments.crew import Crew, Start
from surform.data.environments.opening import EnvironmentSource, tasks_of
from surform.data.environments.seen import Facts
from surform.data.environments.worker import Moment
from surform.robotics.evaluation import Episode, Evaluation
from surform.robotics.execution import OpenLoop, TemporalEnsemble
from surform.robotics.films import Film, film_suffix
from surform.robotics.observing import (
    check_observations,
    instruction_of,
    stacked,
    trained_options,
)

__all__ = ["evaluate"]

_MOST_STEPS = 1000  # of an episode that neither the environment nor the caller ends


def evaluate(
    policy: Any,
    env: str | type,
    *,
    tasks: Sequence[str] | None = None,
    episodes: int = 20,
    seed: int = 0,
    execute: int | None = None,
    ensemble: float | None = None,
    steps: int | None = None,
    instruction: str | None = None,
    options: Mapping[str, Any] | None = None,
    workers: int = 1,
    batch_size: int = 8,
    timeout: float = 60.0,
    films: int = 0,
    folder: str | Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Let a policy act in an environment, episode after episode, and count where it succeeds.

    Results are a function of the arguments alone, whatever the number of processes: episode i of
    every task is reset with `seed` + i, and what a policy draws at random is seeded for each batch.
    An episode ends with its success. Actions beyond the environment's bounds are cut off. Processes
    are spawned: a script must guard its main part by `if __name__ == "__main__":`.

    Args:
        policy: has `start(batch) -> memory`, `act(observation, memory) -> (actions (b, chunk, a),
            memory)` and `observe(observation, memory) -> memory`: a `Policy`, or one's own.
        env: "point-reach", "metaworld", "pusht", "module:Class", an id of Gymnasium, or a class.
        tasks: of the environment; "mt10": Meta-World's ten. None: all that it has.
        episodes: of every task.
        seed: of the first episode.
        execute: actions of each chunk that are done before the next; None: half of it.
        ensemble: instead, a chunk at every step, averaged with this decay (`TemporalEnsemble`).
        steps: most steps of an episode; None: the environment's own limit.
        instruction: instead of what the environment says.
        options: arguments of the environment, beside those that the policy's demonstrations were
            made with.
        workers: processes that the environments of a batch are divided among.
        batch_size: episodes that run side by side.
        timeout: seconds that an environment may take for a reset or a step.
        films: how many episodes are filmed, the first of each task first.
        folder: where films are put.
        progress: called with the finished fraction.

    Raises:
        ValueError: an environment that cannot be opened, or does not fit the policy; actions that
            are not finite; an environment that fails again and again.
        ImportError: the environment's package is not installed.
    """
    if execute is not None and ensemble is not None:
        raise ValueError("execute and ensemble exclude each other: give one of them")
    for name, value in {"episodes": episodes, "batch_size": batch_size, "steps": steps}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}, but must be at least 1")
    if films and folder is None:
        raise ValueError("films need a folder to be put in")
    how = OpenLoop(execute) if ensemble is None else TemporalEnsemble(ensemble)
    name = env if isinstance(env, str) else f"{env.__module__}:{env.__qualname__}"
    named = tasks_of(name, list(tasks) if tasks is not None else None)
    arguments = trained_options(policy, name) | dict(options or {})
    sources = [EnvironmentSource(name, task, arguments, bool(films)) for task in named]
    plan = [(source, seed + i) for source in sources for i in range(episodes)]
    filmed = _chosen(len(sources), episodes, films)
    loop = _Loop(policy, how, steps, instruction)
    with Crew(min(workers, batch_size, len(plan)), timeout) as crew, _evaluating(policy):
        facts = crew.facts(sources[0])
        _check(policy, facts, instruction, bool(films), sources[0])
        result = Evaluation(_episodes(plan))
        for first in range(0, len(plan), batch_size):
            rows = range(first, min(first + batch_size, len(plan)))
            starts = [Start(*plan[i], filmed=i in filmed) for i in rows]
            batch = [result.episodes[i] for i in rows]
            with ExitStack() as stack, _seeded(policy, seed + first):
                made = {
                    row: stack.enter_context(_film(Path(folder), result.episodes[i], facts))
                    for row, i in enumerate(rows)
                    if i in filmed and folder is not None
                }

                def told(fraction: float, first: int = first, size: int = len(rows)) -> None:
                    if progress is not None:
                        progress((first + fraction * size) / len(plan))

                loop.run(crew, starts, batch, made, told)
                result.strips |= {first + row: film.strip() for row, film in made.items()}
    result.settings = {
        "environment": name,
        "options": arguments,
        "episodes of each task": episodes,
        "first seed": seed,
        "execution": how.label,
        "most steps": steps,
        "batch size": batch_size,
        "instruction": instruction,
    }
    return result


class _Loop:
    """Runs batches of episodes side by side until all have ended."""

    def __init__(
        self, policy: Any, how: OpenLoop | TemporalEnsemble, steps: int | None, told: str | None
    ) -> None:
        self.policy, self.how, self.told = policy, how, told
        self.limit = _MOST_STEPS if steps is None else steps

    def run(
        self,
        crew: Crew,
        starts: Sequence[Start],
        batch: Sequence[Episode],
        films: Mapping[int, Film],
        progress: Callable[[float], None],
    ) -> None:
        """Fill in the episodes of one batch."""
        self.how.begin()
        memory, moments = self.policy.start(len(starts)), crew.begin(starts)
        facts = crew.rows
        said = [m.instruction or f.instruction for m, f in zip(moments, facts, strict=True)]
        instructions = [
            self.told or instruction_of(self.policy, start.source.task, text)
            for start, text in zip(starts, said, strict=True)
        ]
        _filmed(films, dict(enumerate(moments)))
        live, step = list(range(len(starts))), 0
        while live:
            # ended episodes stay in the batch as they were: the others must not notice
            observation = stacked(self.policy, [m.observation for m in moments], instructions)
            with torch.inference_mode():
                actions, memory = self.how.act(self.policy, observation, memory)
            chosen = self._within(actions, facts, starts, batch, live, step)
            found = crew.step(chosen)
            step += 1
            _filmed(films, found)
            for row, moment in found.items():
                moments[row] = moment
                if _counted(batch[row], moment, step, self.limit):
                    crew.finish(row)
            live = [row for row in live if not batch[row].ended]
            progress(1 - len(live) / len(starts) * (1 - min(1.0, step / self.limit)))
        for row, episode in enumerate(batch):
            episode.clipped /= max(1, episode.steps * facts[row].action_size)
            episode.restarts = crew.restarts[row]

    def _within(
        self,
        actions: np.ndarray,
        facts: Sequence[Facts],
        starts: Sequence[Start],
        batch: Sequence[Episode],
        live: Sequence[int],
        step: int,
    ) -> dict[int, np.ndarray]:
        """The actions of the rows that are live, cut to the bounds."""
        size = facts[0].action_size
        if actions.shape != (len(starts), size):
            raise ValueError(
                f"the policy gives actions of {actions.shape[-1]} numbers for {len(actions)} "
                f"episodes, but {starts[0].source.label} takes {size} and {len(starts)} run"
            )
        found = {}
        for row in live:
            action = actions[row].astype(np.float64)
            if not np.isfinite(action).all():
                raise ValueError(
                    f"the policy gives {action[~np.isfinite(action)][0]} in the action of "
                    f"step {step + 1}, {starts[row].source.label}, seed {starts[row].seed}"
                )
            found[row] = np.clip(action, facts[row].low, facts[row].high)
            batch[row].clipped += int((found[row] != action).sum())
        return found


def _counted(episode: Episode, moment: Moment, step: int, limit: int) -> bool:
    """Count a step; whether it was the last."""
    told = moment.told or {}
    episode.steps, episode.reward = step, episode.reward + moment.reward
    for name in ("success", "is_success"):
        if name in told:
            episode.success = bool(episode.success) or told[name] > 0.5
    if "coverage" in told:
        episode.coverage = max(told["coverage"], episode.coverage or 0.0)
    if episode.success:
        episode.ended = "success"
    elif moment.terminated or moment.truncated:
        episode.ended = "terminated" if moment.terminated else "truncated"
    elif step >= limit:
        episode.ended = "limit"
    return bool(episode.ended)


def _check(
    policy: Any, facts: Facts, instruction: str | None, films: bool, source: EnvironmentSource
) -> None:
    check_observations(policy, facts, instruction or facts.instruction, source.label)
    if films and not facts.renders:
        raise ValueError(f"{source.label} renders no pictures: ask for no films")


def _chosen(tasks: int, episodes: int, films: int) -> set[int]:
    """Places of the filmed episodes: the first of each task, the second of each, ..."""
    order = [task * episodes + i for i in range(episodes) for task in range(tasks)]
    return set(order[:films])


def _episodes(plan: Sequence[tuple[EnvironmentSource, int]]) -> list[Episode]:
    return [Episode(source.task or "", seed) for source, seed in plan]


def _film(folder: Path, episode: Episode, facts: Facts) -> Film:
    folder.mkdir(parents=True, exist_ok=True)
    episode.film = f"{episode.task or 'episode'}-{episode.seed}{film_suffix()}"
    return Film(folder / episode.film, facts.fps)


def _filmed(films: Mapping[int, Film], moments: Mapping[int, Moment]) -> None:
    for row, moment in moments.items():
        if row in films and moment.picture is not None:
            films[row].add(moment.picture)


@contextmanager
def _evaluating(policy: Any) -> Iterator[None]:
    """Without dropout, and as it was afterwards."""
    before = getattr(policy, "training", False)
    if before:
        policy.eval()
    try:
        yield
    finally:
        if before:
            policy.train()


@contextmanager
def _seeded(policy: Any, seed: int) -> Iterator[None]:
    """Random numbers of torch that are those of the seed, and of nobody else."""
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
