"""What counts as right: the file is read, or refused in a sentence that says where the fault is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from surform.cli.main import USER_ERRORS

__all__ = ["fault_of", "kind_of"]


def fault_of(error: BaseException, path: Path, words: Sequence[str]) -> str | None:
    """What is wrong with an error that a reader raised; None where it is a proper refusal.

    The command line prints the message of `USER_ERRORS` as its one sentence; all others reach the
    user as a traceback. The message must name the file, another one beside or below it, or one of
    `words`.
    """
    message = " ".join(str(error).split())
    shown = f"{type(error).__name__}: {message[:300]}"
    if not isinstance(error, USER_ERRORS):
        return f"a traceback, {shown}"
    if not message:
        return f"no message, {shown}"
    named = path.name in message or f"{path.parent}/" in message
    if not named and not any(_says(message, word) for word in words):
        return f"names neither the file nor a column, {shown}"
    return None


def _says(message: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message) is not None


def kind_of(finding: str) -> str:
    """Findings of one kind differ in numbers and quoted words only."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|/\S+|[-+]?\d[\w.+-]*|0x\w+", "_", finding)[:160]
