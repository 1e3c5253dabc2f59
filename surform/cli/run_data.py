"""The data of a run, as its configuration opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["data_of"]


def data_of(source: str, otherwise: str = "") -> Any:
    """The data module of a run folder.

    Args:
        otherwise: what to do where there is no such folder, for the message.

    Raises:
        ValueError: the folder has no configuration.
    """
    import yaml

    from surform.cli.fit_check import import_class
    from surform.cli.fit_resume import check_classes

    file = Path(source) / "config.yaml"
    if not file.is_file():
        raise ValueError(f"{source} is no run folder (it has no config.yaml){otherwise}")
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    check_classes(config, [], file)
    node = config["data"]
    return import_class("data", node["class_path"])(**node["init_args"])
