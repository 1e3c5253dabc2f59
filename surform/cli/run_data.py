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
    from surform.data.faults import first_line, parsing
    from surform.hub.migrations import m2026_11_argument_names

    file = Path(source) / "config.yaml"
    if not file.is_file():
        raise ValueError(f"{source} is no run folder (it has no config.yaml){otherwise}")
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no YAML that can be read: {first_line(error)}") from error
    node = config.get("data") if isinstance(config, dict) else None
    if not isinstance(node, dict) or not {"class_path", "init_args"} <= set(node):
        raise ValueError(f"{file} does not say with which class, and how, the data were opened")
    with parsing(file):
        config = m2026_11_argument_names.run({"config": config})["config"]  # of an earlier run
        node = config["data"]
        check_classes(config, [], file)
        return import_class("data", node["class_path"])(**node["init_args"])
