"""The processes of a run: which strategy shares the work, and whether the machine has room."""

from __future__ import annotations

import os
from typing import Any

from surform.cli.fit_config import closest

__all__ = ["check_strategy", "cluster", "crowded", "strategy"]

_USUAL = ("auto", "ddp", "ddp_find_unused_parameters_true", "deepspeed", "fsdp")


def check_strategy(trainer: dict[str, Any]) -> None:
    """ValueError for a strategy that does not exist."""
    name = trainer.get("strategy")
    if not isinstance(name, str) or "." in name or name in _USUAL:
        return
    from lightning.pytorch.strategies import StrategyRegistry

    if name not in StrategyRegistry.available_strategies():
        raise ValueError(f"trainer.strategy is {name!r}: {closest(name, _USUAL)}")


def strategy(given: Any) -> Any:
    """What Lightning's Trainer gets: under "fsdp" our own, which runs on CPUs too."""
    if given != "fsdp":
        return given
    from surform.training.sharded import Sharded

    return Sharded()


def cluster(plugins: Any) -> list[Any]:
    """The plugins that Lightning's Trainer gets: on SLURM with an environment that is deaf.

    Lightning's own answers a signal, in the middle of whatever goes on, with a checkpoint where the
    command was called, and whatever run is begun there next takes it for its own.
    """
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    given = plugins if isinstance(plugins, list) else [plugins] * (plugins is not None)
    chosen = any(isinstance(plugin, ClusterEnvironment) for plugin in given)
    if chosen or TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return given
    return [*given, SLURMEnvironment(auto_requeue=False)]


def crowded(trainer: Any) -> str:
    """What to say of more processes on the CPU than it has cores; "" where there is room."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if trainer.num_devices <= (cores or 1) or trainer.strategy.root_device.type != "cpu":
        return ""
    return (
        f"trainer.devices asks for {trainer.num_devices} processes of {cores} cores: take {cores}"
    )
