"""LightningCLI behind the front: our configuration in, its type checks, classes and trainer out."""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.cli import LightningCLI

from surform.cli.fit_bar import with_bar
from surform.cli.fit_check import check_names, explain, refusal
from surform.cli.fit_config import apply_overrides, merge_all, read_config
from surform.cli.fit_devices import check_strategy, cluster, crowded, strategy
from surform.cli.fit_open import data_sizes, filled, net_arguments
from surform.cli.fit_progress import ProgressLines, quiet, show_bar, table
from surform.cli.fit_resume import (
    check_agreement,
    check_classes,
    check_split,
    find_checkpoint,
    options,
    run_folder_of,
)
from surform.cli.load import names_saved_model
from surform.cli.predict import predict_file, predicts_files
from surform.data.atomic import replacing, writer_lock
from surform.data.writable import check_writable
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.logger import MetricsLogger
from surform.training.memory_note import MemoryNote, OnlyCheckedError
from surform.training.predictions import PredictionWriter
from surform.training.resume import ExactResume
from surform.training.run_folder import RunFolder
from surform.training.task import Task

__all__ = ["SurformCLI", "owned", "recipe_name", "resolve", "run", "train"]

_FOLDER_VARIABLE = "SURFORM_RUN_FOLDER"  # so that processes that DDP starts share the folder


class SurformCLI(LightningCLI):
    """One parser for model, data and trainer, fed with a merged configuration.

    Lightning's own merging of a checkpoint over the command line is off: it decides silently.

    Args:
        config: nested dict, as `surform.cli.fit_config` makes it.
        callbacks, loggers: added to those of the configuration.
    """

    def __init__(
        self, config: dict[str, Any], callbacks: Any = (), loggers: Any = (), build: bool = True
    ) -> None:
        self.own_callbacks, self.own_loggers, self.build = list(callbacks), list(loggers), build
        super().__init__(
            Task,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False},
            args=config,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def parse_arguments(self, parser: Any, args: Any) -> None:
        try:
            self.config = parser.parse_object(copy.deepcopy(args))
        except ArgumentError as error:
            raise ValueError(explain(error, args)) from error

    def _parse_ckpt_path(self) -> None:
        """Off: `surform.cli.fit_resume` compares checkpoint and command line instead."""

    def _set_seed(self) -> None:
        if self.build:
            super()._set_seed()

    def instantiate_classes(self) -> None:
        if self.build:
            try:
                super().instantiate_classes()
            except (ArgumentError, ValueError) as error:
                said = refusal(error)
                if said is None:
                    raise
                raise ValueError(said) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = dict(self._get(self.config_init, "trainer", default={}))
        wanted = config.get("logger")
        extra = (
            wanted
            if isinstance(wanted, list)
            else [wanted]
            if wanted not in (None, True, False)
            else []
        )
        own = [] if wanted is False else self.own_loggers
        config["logger"] = [*own, *extra] or False
        config["strategy"] = strategy(config.get("strategy"))
        config["plugins"] = cluster(config.get("plugins"))
        if config.get("enable_model_summary") is None:
            config["enable_model_summary"] = False
        if config.get("log_every_n_steps") is None:
            config["log_every_n_steps"] = 10
        if config.get("enable_progress_bar") is None:
            config["enable_progress_bar"] = show_bar()
        if config.get("enable_checkpointing") is None:
            config["enable_checkpointing"] = any(
                isinstance(c, Checkpoints) for c in self.own_callbacks
            )
        try:
            return self._instantiate_trainer(config, with_bar(config, self.own_callbacks))
        except MisconfigurationException as error:
            asked = ", ".join(f"trainer.{n}={config.get(n)}" for n in ("accelerator", "devices"))
            raise ValueError(f"the trainer cannot start with {asked}: {error}") from error

    def resolved(self) -> dict[str, Any]:
        """The configuration with all defaults, as plain values."""
        text = self.parser.dump(self.config, skip_none=False, skip_validation=True)
        return {k: v for k, v in yaml.safe_load(text).items() if k != "config"}


def resolve(
    config: dict[str, Any], overrides: Sequence[str], complete: bool = False
) -> dict[str, Any]:
    """All defaults and what the data give filled in, overrides applied, names and types checked.

    Args:
        complete: whether the configuration holds its defaults already.
    """
    sizes = data_sizes(apply_overrides(config, overrides))
    config = filled(config, sizes)
    base = config if complete else _with_defaults(config)
    given = filled(apply_overrides(base, overrides), sizes)
    check_names(given)
    check_strategy(given.get("trainer") or {})
    return SurformCLI(given, build=False).resolved()


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Defaults come before overrides: --model.schedule.pct_start finds the default schedule."""
    try:
        return SurformCLI(config, build=False).resolved()
    except Exception:  # incomplete without the overrides: their error, if any, comes later
        return config


def run(command: str, args: argparse.Namespace, overrides: list[str]) -> int:
    """Run fit, validate, test or predict; returns the exit code."""
    quiet()
    if command == "predict" and args.ckpt_path and names_saved_model(args.ckpt_path):
        return predict_file(args, overrides, args.ckpt_path, {})
    name = recipe_name(args.config)
    checkpoint = _checkpoint(command, args, name)
    stored = read_checkpoint(checkpoint)["surform_config"] if checkpoint else {}
    layers: dict[str, Any] = copy.deepcopy(stored.get("config") or {})
    files = [read_config(source) for source in args.config]
    asked = [*files, apply_overrides({}, overrides)]
    if checkpoint:
        check_classes(layers, asked, checkpoint)
    merged = merge_all(layers, files)
    if command == "predict" and checkpoint and predicts_files(merged):
        given = apply_overrides(merged, overrides)
        if layers and not args.override:
            check_agreement(
                layers, filled(given, net_arguments(layers)), ("model",), options(asked)
            )
        return predict_file(args, overrides, str(checkpoint), given)
    config = resolve(merged, overrides)
    if args.print_config:
        print(yaml.safe_dump(config, sort_keys=False), end="")
        return 0
    if stored.get("config") and not args.override:
        fit = command == "fit"
        bound = ("model", "data", "trainer", "seed_everything") if fit else ("model",)
        check_agreement(stored["config"], config, bound, options(asked))
    if command == "fit" and args.check:
        return _check(config)
    if command == "fit":
        with _run_folder(args.out, name, checkpoint) as folder:
            return _fit(args, config, name, folder, checkpoint)
    remark = ""
    if command in ("validate", "test"):
        remark = check_split(stored.get("config") or {}, config, args.override)
    return _evaluate(command, args, config, checkpoint, remark, stored.get("description"))


def train(
    config: dict[str, Any],
    folder: Path,
    *,
    title: str = "",
    report: bool = True,
    override: bool = False,
    every_n_steps: int | None = None,
    checkpoint: Path | None = None,
    memory: bool = False,
    lines: bool = True,
    watchers: Sequence[Callback] = (),
) -> Trainer:
    """Train as a resolved configuration says, in a run folder of its own; returns the trainer.

    Args:
        title: of the run and its report.
        report: whether to write report.html.
        override: let the configuration win over what the checkpoint says.
        every_n_steps: save last.ckpt after so many steps, too.
        checkpoint: continue from it.
        memory: say first what it takes.
        lines: say after every validation what it gave, where there is no bar.
        watchers: callbacks beside those of every run.
    """
    callbacks = [
        *[MemoryNote()] * memory,
        RunFolder(folder, title=title, report=report),
        ExactResume(override),
        *[ProgressLines()] * lines,
        *watchers,
        Checkpoints(every_n_steps=every_n_steps),
    ]
    cli = SurformCLI(config, callbacks, [MetricsLogger()])
    cli.model.config = config
    net = config["model"]["init_args"].get("net") or {}
    # Third parties' classes do not record how they were built; saved models need to know.
    vars(cli.model.surrogate.net).setdefault("arguments", net.get("init_args") or {})
    start = {"datamodule": cli.datamodule, "ckpt_path": checkpoint, "weights_only": True}
    if (remark := crowded(cli.trainer)) and not _is_child():
        print(remark, file=sys.stderr)
    # One process writes a run folder, the first of those that train together.
    with nullcontext() if _is_child() else owned(folder / "run"):
        cli.trainer.fit(cli.model, **start)
    return cli.trainer


def _check(config: dict[str, Any]) -> int:
    """Everything that training begins with, without a run folder."""
    cli = SurformCLI(config, [MemoryNote(only=True)])
    try:
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    except OnlyCheckedError:
        print("ready to train: configuration, data and one batch are in order")
    return 0


def _fit(
    args: argparse.Namespace,
    config: dict[str, Any],
    name: str,
    folder: Path,
    checkpoint: Path | None,
) -> int:
    if folder.is_file():
        raise ValueError(f"--out names the folder of a run, and {folder} is a file")
    if any((folder / name).is_file() for name in ("zarr.json", ".zgroup")):
        raise ValueError(f"{folder} holds data, not a run: choose another --out")
    check_writable(folder, inside=True)
    own = checkpoint is not None and run_folder_of(checkpoint).resolve() == folder.resolve()
    # A run that was stopped before its first checkpoint is begun again.
    kept = {path.stem for path in (folder / "checkpoints").glob("*.ckpt")}
    if kept and not own and not _is_child():
        which = "best" if kept == {"best"} else "last"
        raise ValueError(
            f"{folder} holds {'another' if checkpoint else 'a'} run already: continue it with "
            f"--ckpt_path {which} --out {folder}, or choose another --out"
        )
    trainer = train(
        config,
        folder,
        title=name,
        report=not args.no_report,
        override=args.override,
        every_n_steps=args.every_n_steps,
        checkpoint=checkpoint,
        memory=True,
    )
    if trainer.is_global_zero:
        task: Any = trainer.lightning_module
        for remark in task.remarks:
            print(remark)
        print(f"run folder: {folder}")
        if (folder / "report.html").is_file():
            print(f"report: {folder / 'report.html'}")
    return 0


def _evaluate(
    command: str,
    args: argparse.Namespace,
    config: dict[str, Any],
    checkpoint: Path | None,
    remark: str,
    trained: dict[str, Any] | None,
) -> int:
    run_folder = run_folder_of(Path(str(checkpoint)))
    if command == "predict":
        out = args.out or run_folder / "predictions.zarr"
        cli = SurformCLI(config, [PredictionWriter(out)])
        _read_as(cli, trained)
        start = {"datamodule": cli.datamodule, "ckpt_path": checkpoint, "weights_only": True}
        cli.trainer.predict(cli.model, return_predictions=False, **start)
        print(f"predictions: {out}")
        return 0
    place = (args.out or run_folder) / f"{command}.json"
    check_writable(place)
    cli = SurformCLI(config)
    _read_as(cli, trained)
    start = {"datamodule": cli.datamodule, "ckpt_path": checkpoint, "weights_only": True}
    found = getattr(cli.trainer, command)(cli.model, verbose=False, **start)
    if cli.trainer.is_global_zero:
        figures = found[0] | {"checkpoint": str(checkpoint)}
        if remark:
            figures["remark"] = remark
        with replacing(place) as partial:
            partial.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        print(table(found[0]))
        if remark:
            print(remark)
    return 0


def _read_as(cli: SurformCLI, trained: dict[str, Any] | None) -> None:
    """Let data whose categories are numbered be read with the numbers that the model knows."""
    read_as = getattr(cli.datamodule, "read_as", None)
    if read_as is not None and trained is not None:
        read_as(cli.model.surrogate.read_description(trained))


@contextmanager
def owned(what: Path) -> Iterator[None]:
    """The only right to write what lies in a folder, which is removed if it stays empty, with
    those above it that were made for it.
    """
    folder = what.parent
    made = [folder, *(place for place in folder.parents if not place.exists())]
    try:
        with writer_lock(what):
            yield
    finally:
        with suppress(OSError):  # the first one that is not empty, or that never was
            for place in made:
                place.rmdir()


def _is_child() -> bool:
    """Whether this process was started by another one of the same run."""
    return any(int(os.environ.get(name, 0)) > 0 for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))


def _checkpoint(command: str, args: argparse.Namespace, name: str) -> Path | None:
    if args.ckpt_path is None:
        if command != "fit" and not args.print_config:
            raise ValueError(
                f"weights are needed: surform {command} RUN, or --ckpt_path with best or a file"
            )
        return None
    of_run = "last" if command == "fit" else "best"
    if args.out is None or command == "predict":  # whose --out is the file of predictions
        return find_checkpoint(args.ckpt_path, Path("runs") / (name or ""), of_run=of_run)
    return find_checkpoint(args.ckpt_path, args.out, "checkpoints", of_run)


def recipe_name(configs: list[str]) -> str:
    """What a run of these recipes or files is called: the first one's name."""
    if not configs:
        return ""
    first = configs[0]
    return Path(first).stem if first.endswith((".yaml", ".yml")) else first


@contextmanager
def _run_folder(out: Path | None, name: str, checkpoint: Path | None) -> Iterator[Path]:
    """The folder of this run; a new one is known to the processes that the run starts."""
    if out is not None:
        yield out
    elif checkpoint is not None:
        yield run_folder_of(checkpoint)
    elif _FOLDER_VARIABLE in os.environ:
        yield Path(os.environ[_FOLDER_VARIABLE])
    else:
        folder = Path("runs") / (name or "run") / time.strftime("%Y%m%d-%H%M%S")
        while folder.exists():
            folder = folder.with_name(f"{folder.name}-{os.getpid()}")
        os.environ[_FOLDER_VARIABLE] = str(folder)
        try:
            yield folder
        finally:
            del os.environ[_FOLDER_VARIABLE]
