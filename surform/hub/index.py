"""The models that ship with the package: a table that can be listed without torch.

Install a finished model folder with `python -m surform.hub.index add FOLDER NAME`.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surform.data.atomic import replacing
from surform.hub.config import CARD, CONFIG, WEIGHTS, read_config

__all__ = ["LARGEST", "add", "closest", "entries", "main", "model_folder"]

ROOT = Path(__file__).parent
LARGEST = 5_000_000  # bytes of a model's folder: the package stays light


def entries(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Name -> {"net", "kind", "summary", "metrics", "bytes", "sha256"} of every shipped model."""
    path = root / "index.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def model_folder(name: str, root: Path = ROOT) -> Path | None:
    """Where a shipped model lies; None when the name is not in the index."""
    return root / "models" / name if name in entries(root) else None


def closest(name: str, root: Path = ROOT) -> list[str]:
    """Names of shipped models that resemble a misspelt one."""
    return difflib.get_close_matches(name, entries(root), n=3)


def add(folder: str | Path, name: str, root: Path = ROOT) -> Path:
    """Copy a saved model into the package under `name` and enter it in the index.

    Raises:
        ValueError: a bad name, a model that does not load, or one larger than 5 MB.
    """
    folder = Path(folder)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"a model's name has lower-case letters, digits and hyphens, not {name!r}")
    config = read_config(folder)
    files = [folder / file for file in (CONFIG, WEIGHTS, CARD)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}")
    size = sum(file.stat().st_size for file in files)
    if size >= LARGEST:
        raise ValueError(f"{folder} has {size:,} bytes; shipped models stay below {LARGEST:,}")
    loaded = _summary(folder)
    with replacing(root / "models" / name) as partial:
        partial.mkdir()
        for file in files:
            shutil.copyfile(file, partial / file.name)
    entry = {
        "net": config.architecture,
        "kind": config.kind,
        "summary": config.card.get("summary") or loaded,
        "metrics": config.metrics,
        "bytes": size,
        "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
    }
    table = dict(sorted((entries(root) | {name: entry}).items()))
    with replacing(root / "index.json") as partial:
        partial.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return root / "models" / name


def _summary(folder: Path) -> str:
    """One sentence on the data of a saved model, which must load."""
    from surform.hub.loading import load_folder

    description = load_folder(folder).description
    return description.summary() if description is not None else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m surform.hub.index add FOLDER NAME`."""
    parser = argparse.ArgumentParser(prog="python -m surform.hub.index", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    adder = commands.add_parser("add", help="copy a saved model into the package's index")
    adder.add_argument("folder", help="what save_pretrained wrote")
    adder.add_argument("name", help="e.g. factformer-kolmogorov")
    args = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"{add(args.folder, args.name)}\n")
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
