"""JSON files that others wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from surform.data.faults import first_line, refuse_unreadable

__all__ = ["read_json"]


def read_json(path: Path) -> Any:
    """The content of a JSON file; one sentence where it is missing, cut off or no JSON."""
    refuse_unreadable(str(path))
    try:
        return json.loads(path.read_bytes())
    except IsADirectoryError as error:
        raise ValueError(f"{path} is a folder, but a JSON file is wanted") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON that can be read ({first_line(error)})") from error
