"""`surform predict`: the predictions of a split, or of what the model makes of a file."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surform.cli.fit_check import import_class
from surform.cli.fit_config import apply_overrides, closest
from surform.cli.fit_resume import run_folder_of
from surform.cli.load import load_any
from surform.registry import names
from surform.training.task import Task

__all__ = ["predict_file", "predicts_files", "unregistered_net"]


def predicts_files(config: Mapping[str, Any]) -> bool:
    """Whether a configuration's task leaves predictions to its model, which reads files itself."""
    model = config.get("model")
    path = model.get("class_path") if isinstance(model, dict) else None
    task = import_class("model", path) if path else None
    return inspect.isclass(task) and issubclass(task, Task) and task.predicts == "files"


def predict_file(
    args: argparse.Namespace, overrides: list[str], source: str, config: Mapping[str, Any]
) -> int:
    """Predict from `--data.path` into `--out`; other options of the data go to the model.

    Args:
        source: a checkpoint, a run folder or a saved model.
        config: the configuration that the checkpoint holds, in agreement with what was given; {}
            for saved models.
    """
    given = apply_overrides({}, overrides)
    other = [name for name in given if name != "data" and not (name == "model" and config)]
    if other:
        raise ValueError(
            f"--{other[0]}: {source} is used as it is; what may be given are --data.path, how the "
            "data are to be read, and --out"
        )
    model = load_any(_finished(source), net=unregistered_net(config))
    asked = dict(given.get("data") or {})
    path = asked.pop("path", None)
    unknown = [name for name in asked if name not in model.file_options]
    if unknown:
        hint = closest(unknown[0], ("path", *model.file_options), "--data.")
        raise ValueError(f"predict has no option --data.{unknown[0]}: {hint}")
    # how the data of training were read, where the command line does not say
    trained = dict((config.get("data") or {}).get("init_args") or {})
    new = ("batch_size", "gaps")  # of no matter to the last rows
    kept = {n: v for n, v in trained.items() if n in model.file_options and n not in new}
    path = path or trained.get("path")
    if not isinstance(path, str if model.kind == "series" else (str, list)):
        raise ValueError(f"{source} needs a file to predict from: --data.path FILE")
    if args.out is None:
        raise ValueError("predict needs a file to write to: --out FILE")
    out: Path = model.predict_file(path, args.out, **(kept | asked))
    if model.kind == "series" and not getattr(model, "levels", ()):
        print("The forecast has no quantiles: the model was saved without.")
    print(f"predictions: {out}")
    return 0


def unregistered_net(config: Mapping[str, Any]) -> Any:
    """The network of a class that the user vouched for; None for registered ones."""
    arguments = (config.get("model") or {}).get("init_args") or {}
    node = arguments.get("net") or {}
    path = node.get("class_path")
    if path is None or path in {where.replace(":", ".") for where in names("models").values()}:
        return None
    return import_class("model.net", path)(**(node.get("init_args") or {}))


def _finished(source: str) -> str:
    """For the best checkpoint of a finished run the model that it left: it may know more.

    The weights are the same; intervals are calibrated when a run ends.
    """
    checkpoint = Path(source)
    model = run_folder_of(checkpoint) / "model"
    saved = model / "config.json"
    if checkpoint.name != "best.ckpt" or not saved.is_file():
        return source
    return str(model) if saved.stat().st_mtime >= checkpoint.stat().st_mtime else source
