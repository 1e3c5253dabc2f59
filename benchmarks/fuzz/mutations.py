"""Seeded damage to files: the same tree and seed give the same bytes.

A tree is what lies in a folder: relative path -> content, None for a folder that is empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks.fuzz.mutations_bytes import damaged_bytes
from benchmarks.fuzz.mutations_json import damaged_json
from benchmarks.fuzz.mutations_text import damaged_text

__all__ = ["Tree", "mutated", "read_tree", "write_tree"]

Tree = dict[str, bytes | None]

_FOLDERS = 0.08  # how often a file itself goes, where there are several
_RAW = 0.25  # how often text is damaged as bytes are
_LONGEST_JSON = 2**20


def read_tree(root: Path) -> Tree:
    """Everything below a folder."""
    tree: Tree = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file():
            tree[name] = path.read_bytes()
        elif not any(path.iterdir()):
            tree[name] = None
    return tree


def write_tree(root: Path, tree: Tree) -> None:
    """The opposite of `read_tree`."""
    for name, content in tree.items():
        path = root / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def mutated(tree: Tree, name: str, seed: int) -> Tree:
    """The tree with one to four faults, which depend on the name of the format and the seed."""
    draw, tree = Random(f"{name}:{seed}"), dict(tree)
    files = [key for key, content in tree.items() if content is not None]
    for _ in range(1 + min(3, int(draw.expovariate(1.0)))):
        chosen = draw.choice(files)
        content = tree[chosen]
        if content is None:
            continue
        if len(files) > 1 and draw.random() < _FOLDERS:
            draw.choice(_WHOLE)(tree, chosen, draw, files)
            files = [key for key in files if key in tree]
        else:
            tree[chosen] = _damaged(content, draw)
    return tree


def _damaged(content: bytes, draw: Random) -> bytes:
    text = _as_text(content)
    if text is None or draw.random() < _RAW:
        return damaged_bytes(content, draw)
    if text.lstrip()[:1] in ("{", "[") and len(text) < _LONGEST_JSON and draw.random() < 0.8:
        try:
            return damaged_json(json.loads(text), draw)
        except (ValueError, RecursionError):
            pass
    return damaged_text(text, draw).encode("utf-8", "surrogatepass")


def _as_text(content: bytes) -> str | None:
    """UTF-8 without control characters; None where it is none."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if any(c < " " and c not in "\t\r\n" for c in text[:4096]) else text


def _remove(tree: Tree, chosen: str, draw: Random, files: list[str]) -> None:
    del tree[chosen]


def _empty(tree: Tree, chosen: str, draw: Random, files: list[str]) -> None:
    tree[chosen] = b""


def _folder(tree: Tree, chosen: str, draw: Random, files: list[str]) -> None:
    tree[chosen] = None


def _swap(tree: Tree, chosen: str, draw: Random, files: list[str]) -> None:
    other = draw.choice(files)
    tree[chosen], tree[other] = tree[other], tree[chosen]


_WHOLE: tuple[Callable[[Tree, str, Random, list[str]], None], ...] = (
    _remove,
    _empty,
    _folder,
    _swap,
)
