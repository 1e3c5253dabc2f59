"""Libraries that only some users need."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["require_extra"]


def require_extra(module: str, extra: str, purpose: str) -> Any:
    """Import a module of an optional dependency.

    Raises:
        ImportError: it is not installed; says which extra of surform brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise ImportError(f'{purpose} needs {library}: pip install "surform[{extra}]"') from error
