"""How annotated shapes and types are checked: by beartype, an int being a float as in PEP 484."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

__all__ = ["checked"]

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
