"""Folders of images: one folder per class, perhaps below train, validation and test."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from surform.data.images_files import IMAGES, read_header, read_image
from surform.data.images_source import ImageSource

__all__ = ["FolderImages", "image_files", "open_folder", "open_unlabelled"]

_SPLITS = {"train": "train", "val": "validation", "valid": "validation"}
_SPLITS |= {"validation": "validation", "test": "test"}
_SYSTEM = ("Thumbs.db", "desktop.ini", "__MACOSX")  # of file managers, as is what is hidden
_COLORS = {1: ("grey",), 3: ("red", "green", "blue")}


@dataclass
class FolderImages(ImageSource):
    """Image files; decoded when read, or held in memory after `hold`."""

    root: Path = Path()
    files: tuple[Path, ...] = ()
    pixels: int = 0
    held: list[np.ndarray] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, number: int) -> np.ndarray:
        if self.held:
            return self.held[number]
        return read_image(self.files[number], len(self.channels))

    def hold(self, progress: Callable[[float], None]) -> None:
        """Decode everything now, so that damaged files are found before training."""
        held = []
        for number in range(len(self)):
            held.append(self.read(number))
            progress((number + 1) / len(self))
        self.held = held

    def nbytes(self) -> int:
        return self.pixels * len(self.channels)

    def title(self, number: int) -> str:
        return self.files[number].relative_to(self.root).as_posix()

    def fingerprint(self) -> str:
        """Of names, sizes in bytes, classes and divisions; of the pixels of three images."""
        digest = hashlib.sha256()
        for number, file in enumerate(self.files):
            digest.update(f"{self.title(number)} {file.stat().st_size}\n".encode())
        for split, numbers in self.parts.items():
            digest.update(f"{split} {len(numbers)}".encode())
        for number in sorted({0, len(self) // 2, len(self) - 1}):
            digest.update(np.ascontiguousarray(self.read(number)).tobytes())
        return digest.hexdigest()


def open_folder(
    root: Path,
    channels: int,
    classes: Sequence[str] | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> FolderImages:
    """A folder with a folder of images for each class, or with such below train, val and test.

    Args:
        channels: 3 (colors) or 1 (grey).
        classes: names of the folders in the order of their numbers; None sorts them.

    Raises:
        ValueError: no classes or no images, a file that is no image, a class that is not known, or
            something that would be left out.
    """
    holders = _splits(root) or {"": root}
    known = tuple(classes) if classes is not None else tuple(_folders(next(iter(holders.values()))))
    if not known:
        raise ValueError(
            f"{root} holds no folders of classes: make one for each class, with its images inside"
        )
    files: list[Path] = []
    labels: list[int] = []
    parts: dict[str, np.ndarray] = {}
    for split, holder in holders.items():
        _refuse_loose(holder)
        first = len(files)
        for name in _folders(holder):
            if name not in known:
                raise ValueError(
                    f"{holder / name} is no class of the training images: these are "
                    f"{', '.join(known[:12])}"
                )
            found = _images_in(holder / name)
            files += found
            labels += [known.index(name)] * len(found)
        if split:
            parts[split] = np.arange(first, len(files))
    return _source(root, files, np.array(labels, dtype=np.int64), known, parts, channels, progress)


def open_unlabelled(path: Path, channels: int) -> FolderImages:
    """One image, or all images below a folder, in the order of their names."""
    files = [path] if path.is_file() else image_files(path)
    if not files:
        raise ValueError(f"{path} holds no images ({', '.join(IMAGES)})")
    root = path.parent if path.is_file() else path
    return _source(root, files, np.zeros(0, dtype=np.int64), (), {}, channels)


def image_files(folder: Path) -> list[Path]:
    """All images below a folder, sorted; hidden files and folders are passed over."""
    found: list[Path] = []
    for place, inner, names in os.walk(folder, followlinks=True):
        inner[:] = [n for n in inner if not n.startswith(".") and n not in _SYSTEM]
        if any(os.path.samefile(place, up) for up in Path(place).parents):
            raise ValueError(f"{place} is a link to a folder that holds it: remove it")
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in IMAGES)


def _splits(root: Path) -> dict[str, Path]:
    """Folders of the splits; {} where there are none. A class may be called train, too."""
    found: dict[str, Path] = {}
    for name in _folders(root):
        split = _SPLITS.get(name.lower())
        if split is None or not _folders(root / name):
            continue
        if split in found:
            raise ValueError(
                f"{found[split]} and {root / name} both hold {split} images: put them together"
            )
        found[split] = root / name
    if found and "train" not in found:
        raise ValueError(f"{next(iter(found.values()))} has no train beside it: where is it?")
    beside = [name for name in _folders(root) if root / name not in found.values()]
    if found and beside:
        raise ValueError(
            f"{root / beside[0]} lies beside {', '.join(p.name for p in found.values())} and would "
            "be left out: move it elsewhere"
        )
    return {split: found[split] for split in _SPLITS.values() if split in found}


def _refuse_loose(holder: Path) -> None:
    """Images that lie in no class, as nothing is left out silently."""
    for path in sorted(holder.iterdir()):
        if path.suffix.lower() in IMAGES and not path.name.startswith(".") and not path.is_dir():
            raise ValueError(f"{path} lies in no class: move it into one, or elsewhere")


def _folders(holder: Path) -> list[str]:
    found = (p.name for p in holder.iterdir() if p.is_dir() and p.name not in _SYSTEM)
    return sorted(name for name in found if not name.startswith("."))


def _images_in(folder: Path) -> list[Path]:
    entries = [p for p in folder.iterdir() if not p.name.startswith(".") and p.name not in _SYSTEM]
    for entry in sorted(entries):
        if entry.is_dir():
            raise ValueError(f"{entry} is a folder inside of a class: move its images up")
        if entry.suffix.lower() not in IMAGES:
            raise ValueError(
                f"{entry} is no image ({', '.join(IMAGES)}), and nothing is left out silently: "
                "move it elsewhere"
            )
    if not entries:
        raise ValueError(f"the class {folder} has no images: remove it, or fill it")
    return sorted(entries)


def _source(
    root: Path,
    files: list[Path],
    labels: np.ndarray,
    classes: tuple[str, ...],
    parts: dict[str, np.ndarray],
    channels: int,
    progress: Callable[[float], None] = lambda share: None,
) -> FolderImages:
    sizes = []
    for number, file in enumerate(files):
        sizes.append(read_header(file).size)
        progress((number + 1) / len(files))
    return FolderImages(
        name=str(root),
        classes=classes,
        labels=labels,
        channels=_COLORS[channels],
        size=sizes[0] if len(set(sizes)) == 1 else None,
        eight_bit=True,
        parts=parts,
        root=root,
        files=tuple(files),
        pixels=sum(height * width for height, width in sizes),
    )
