"""From what names a table to its opened files, in training, evaluation and scoring alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from surform.data.extras import require_extra
from surform.data.interactions_derived import DerivedFile
from surform.data.interactions_description import InteractionsDescription
from surform.data.interactions_layouts import Layout, layout_of
from surform.data.interactions_log import InteractionsLog, open_log
from surform.data.interactions_text import TextFormat

__all__ = ["open_table", "text_format", "text_types", "trained_types"]


def open_table(
    source: Any,
    layout: str | None = None,
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
) -> tuple[InteractionsLog, Mapping[str, Any]]:
    """The files, with the columns that a published layout computes, and what it says of columns.

    Args:
        source: as `InteractionsData` takes it, of one split.
        layout, delimiter, columns: as `InteractionsData` takes them.
        types: of columns of text files: "text", "whole" or "number"; others are found.
    """
    known = Layout({})
    if layout is not None:
        source, known = layout_of(layout, source)
    log = open_log(source, text_format(known, delimiter, columns, types))
    if known.derived:
        log = InteractionsLog([DerivedFile(file, known.derived) for file in log.files])
    return log, known.roles


def trained_types(about: InteractionsDescription) -> dict[str, str]:
    """Types of the columns of text files that a trained model is asked about.

    Categories that were text in training are text, whatever they look like: 007 is not 7.
    """
    texts = [name for name, numbering in about.numbering.items() if numbering.text]
    return text_types(texts, about.multivalued, about.separator)


def text_types(texts: Iterable[str], several: Iterable[str], separator: str) -> dict[str, str]:
    """Types of columns of text files that must not be guessed by what the fields look like.

    Args:
        texts: columns whose categories are texts.
        several: columns of any number of categories per row.
        separator: between these; "" = they are lists, which text files do not have.
    """
    return dict.fromkeys([*texts, *(several if separator else ())], "text")


def text_format(
    layout: Layout,
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
) -> TextFormat:
    """How the text files of a table are read; what is given goes before what the layout says.

    Raises:
        ValueError: an unknown type.
    """
    arrow = require_extra("pyarrow", "tables", "reading tables of interactions")
    kinds: dict[str, Any] = {
        "text": arrow.string(), "whole": arrow.int64(), "number": arrow.float64(),
    }  # fmt: skip
    for name, kind in (types or {}).items():
        if kind not in kinds:
            raise ValueError(f"column {name!r} has the type {kind!r}: choose {', '.join(kinds)}")
    given = {name: kinds[kind] for name, kind in (types or {}).items()}
    text = replace(layout.text, delimiter=delimiter, types={**layout.text.types, **given})
    return replace(text, names=tuple(columns), optional=0) if columns else text
