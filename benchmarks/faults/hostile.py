"""Files that are made to do harm: each a function that writes one and gives the line that reads it.

All lie in the folder in which the command runs. A file that executes anything makes `executed`
there, one that leaves its folder writes `evil.txt`.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["HOSTILE", "Maker"]

Maker = Callable[[Path, Path], list[str]]  # (folder, inputs) -> words of the command

_FILES = ("config.json", "model.safetensors", "README.md")
_READ = ["convert", "model", "converted"]


def _zip(name: str, mode: int = 0, model: bool = True) -> Maker:
    """An archive with one more member, of this name."""

    def make(folder: Path, inputs: Path) -> list[str]:
        with zipfile.ZipFile(folder / "model.zip", "w") as out:
            for file in _FILES if model else ():
                out.write(inputs / "run/model" / file, file)
            info = zipfile.ZipInfo("evil.txt")
            info.filename, info.external_attr = name.format(here=folder), mode << 16
            out.writestr(info, "/etc/passwd")
        return ["convert", "model.zip", "converted"]

    return make


def _zip_bomb(folder: Path, inputs: Path) -> list[str]:
    with zipfile.ZipFile(folder / "model.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.write(inputs / "run/model/config.json", "config.json")
        with out.open("model.safetensors", "w") as stream:
            for _ in range(64):
                stream.write(bytes(1 << 20))
    return ["convert", "model.zip", "converted"]


def _zip_lie(folder: Path, inputs: Path) -> list[str]:
    """The table of the archive promises fewer bytes of the weights than there are."""
    with zipfile.ZipFile(folder / "model.zip", "w") as out:
        for file in _FILES:
            out.write(inputs / "run/model" / file, file)
    content = (folder / "model.zip").read_bytes()
    size = (inputs / "run/model/model.safetensors").stat().st_size
    table = content.rindex(b"PK\x01\x02", 0, content.rindex(b"README.md"))
    table = content.rindex(b"PK\x01\x02", 0, table)
    lie = content[:table] + content[table:].replace(struct.pack("<I", size), struct.pack("<I", 9))
    (folder / "model.zip").write_bytes(lie)
    return ["convert", "model.zip", "converted"]


def _tar(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Maker:
    def make(folder: Path, inputs: Path) -> list[str]:
        with tarfile.open(folder / "model.tar", "w") as out:
            for file in _FILES:
                out.add(inputs / "run/model" / file, file)
            info = tarfile.TarInfo(name.format(here=folder))
            info.type, info.linkname = kind, target
            info.size = 4 if kind == tarfile.REGTYPE else 0
            out.addfile(info, io.BytesIO(b"evil"))
        return ["convert", "model.tar", "converted"]

    return make


def _weights(change: Callable[[bytes, dict[str, Any], bytes], bytes]) -> Maker:
    """A saved model whose weights' file is made of (all bytes, header, data) anew."""

    def make(folder: Path, inputs: Path) -> list[str]:
        shutil.copytree(inputs / "run/model", folder / "model")
        path = folder / "model/model.safetensors"
        content = path.read_bytes()
        end = 8 + struct.unpack("<Q", content[:8])[0]
        path.write_bytes(change(content, json.loads(content[8:end]), content[end:]))
        return _READ

    return make


def _stored(header: dict[str, Any] | str | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, str | bytes) else json.dumps(header)
    encoded = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def _entry(**values: Any) -> Maker:
    """The first tensor's entry in the header says something else."""

    def change(content: bytes, header: dict[str, Any], data: bytes) -> bytes:
        name = next(key for key in header if key != "__metadata__")
        return _stored(header | {name: header[name] | values}, data)

    return _weights(change)


def _overlap(content: bytes, header: dict[str, Any], data: bytes) -> bytes:
    """Two tensors share their bytes."""
    names = sorted(
        (key for key in header if key != "__metadata__"),
        key=lambda key: header[key]["data_offsets"],
    )
    first = header[names[0]]["data_offsets"]
    return _stored(header | {names[1]: header[names[1]] | {"data_offsets": first}}, data)


def _config(change: Callable[[str], str | bytes]) -> Maker:
    """A saved model whose configuration is another text."""

    def make(folder: Path, inputs: Path) -> list[str]:
        shutil.copytree(inputs / "run/model", folder / "model")
        path = folder / "model/config.json"
        text = change(path.read_text())
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return _READ

    return make


def _values(**changes: Any) -> Maker:
    return _config(lambda text: json.dumps(json.loads(text) | changes))


class _Payload:
    """Unpickled, it makes the file `executed` in the working folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("open('executed', 'w').close()",)


def _pickled(name: str, line: list[str]) -> Maker:
    """A pickle that executes something, under a name, and the line that would read it."""

    def make(folder: Path, inputs: Path) -> list[str]:
        (folder / name).write_bytes(pickle.dumps([_Payload()], protocol=4))
        return line

    return make


def _torch(name: str, line: list[str]) -> Maker:
    def make(folder: Path, inputs: Path) -> list[str]:
        import torch

        torch.save({"state_dict": {}, "surform_config": _Payload()}, folder / name)
        return line

    return make


def _recipe(text: str) -> Maker:
    def make(folder: Path, inputs: Path) -> list[str]:
        (folder / "recipe.yaml").write_text(text)
        return ["fit", "--config", "recipe.yaml", "--out", "run"]

    return make


def _hub(name: str) -> Maker:
    return lambda folder, inputs: ["convert", f"hf://{name}", "converted"]


_PICKLE_DATA = ["--config", "operators/gnot-heat", "--out", "run", "--data.generate", "null"]
_LINK, _PIPE = stat.S_IFLNK | 0o777, tarfile.FIFOTYPE
_DEEP = "[" * 200_000
_LONG = struct.pack("<Q", 1 << 62)

HOSTILE: dict[str, dict[str, Maker]] = {
    "zip": {
        "a member above the folder": _zip("../evil.txt"),
        "a member above a folder below": _zip("a/../../evil.txt"),
        "an absolute member": _zip("{here}/evil.txt"),
        "a member with a drive": _zip("c:evil.txt"),
        "backslashes": _zip("..\\evil.txt"),
        "a symbolic link": _zip("link", _LINK),
        "a link in place of the configuration": _zip("config.json", _LINK, model=False),
        "two models": _zip("other/config.json"),
        "no model": _zip("notes.txt", model=False),
        "64 MB of zeros": _zip_bomb,
        "a table that lies": _zip_lie,
    },
    "tar": {
        "a member above the folder": _tar("../evil.txt"),
        "an absolute member": _tar("{here}/evil.txt"),
        "a symbolic link": _tar("link", tarfile.SYMTYPE, "/etc/passwd"),
        "a hard link": _tar("link", tarfile.LNKTYPE, "/etc/passwd"),
        "a link in place of the weights": _tar("model.safetensors", tarfile.SYMTYPE, "/etc/passwd"),
        "a device": _tar("device", tarfile.CHRTYPE),
        "a pipe": _tar("pipe", _PIPE),
        "two models": _tar("other/config.json"),
    },
    "safetensors": {
        "a header beyond the file": _weights(lambda c, h, d: struct.pack("<Q", len(c)) + c[8:]),
        "a header of 2^62 bytes": _weights(lambda c, h, d: _LONG + c[8:]),
        "a header of 101 MB": _weights(lambda c, h, d: _stored(" " * 101_000_000, b"")),
        "a length without a header": _weights(lambda c, h, d: c[:8]),
        "an empty file": _weights(lambda c, h, d: b""),
        "offsets that overlap": _weights(_overlap),
        "offsets beyond the file": _entry(data_offsets=[0, 1 << 40]),
        "offsets backwards": _entry(data_offsets=[64, 0]),
        "offsets below zero": _entry(data_offsets=[-4, 4]),
        "a shape of 2^62 numbers": _entry(shape=[1 << 62]),
        "a shape whose size overflows": _entry(shape=[1 << 33, 1 << 33]),
        "a shape below zero": _entry(shape=[-1]),
        "an unknown kind of number": _entry(dtype="P64"),
        "a header of nested lists": _weights(lambda c, h, d: _stored(_DEEP, d)),
        "a header that is no text": _weights(lambda c, h, d: _stored(b"\xff" * 64, d)),
        "a hole between tensors": _weights(lambda c, h, d: _stored(h, d + bytes(64))),
    },
    "configuration": {
        "nested lists": _config(lambda text: _DEEP),
        "a number of 100,000 digits": _config(
            lambda text: text.replace('"format_version": 2', '"format_version": ' + "9" * 100_000)
        ),
        "70 MB of text": _config(lambda text: text + " " * 70_000_000),
        "no text": _config(lambda text: b"\xff\xfe\x00"),
        "a module to import": _values(net={"class_path": "antigravity:fly", "arguments": {}}),
        "os.system as the network": _values(net={"class_path": "os:system", "arguments": {}}),
        "a path as the network": _values(net={"name": "../../evil", "arguments": {}}),
        "a path as the kind": _values(kind="../../evil"),
        "another format": _values(format_version=1 << 40),
    },
    "pickle": {
        "as official weights": _torch("w.pt", ["convert", "--system", "galerkin", "w.pt", "out"]),
        "as a bare official pickle": _pickled(
            "w.pth", ["convert", "--system", "galerkin", "w.pth", "out"]
        ),
        "as a checkpoint to go on from": _torch(
            "w.ckpt", ["fit", "--config", "operators/quickstart", "--ckpt_path", "w.ckpt"]
        ),
        "as a checkpoint to predict with": _torch(
            "w.ckpt", ["predict", "--ckpt_path", "w.ckpt", "--out", "p.zarr"]
        ),
        "as a saved model": _torch("w.pt", ["convert", "w.pt", "out"]),
        "as samples on meshes": _pickled(
            "cases.pkl", ["fit", *_PICKLE_DATA, "--data.path", "cases.pkl"]
        ),
        "described": _pickled("cases.pkl", ["info", "cases.pkl"]),
    },
    "recipe": {
        "a call": _recipe("model: !!python/object/apply:os.system ['touch executed']\n"),
        "a new object": _recipe("model: !!python/object/new:os.system ['touch executed']\n"),
        "a module": _recipe("model: !!python/module:antigravity\n"),
        "nested lists": _recipe("model: " + "[" * 5_000),
        "a billion laughs": _recipe(
            "a0: &a0 [x, x]\n"
            + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
            + "model: *a39\n"
        ),
    },
    "hub": {
        "a path above": _hub("../evil"),
        "a path in a name": _hub("owner/../../evil"),
        "three parts": _hub("a/b/c"),
        "no name": _hub(""),
        "a revision above": _hub("owner/name@../../../evil"),
        "an absolute revision": _hub("owner/name@/etc/passwd"),
        "a revision with a line break": _hub("owner/name@main\nHost: evil"),
        "a revision with a question": _hub("owner/name@main?download=true"),
    },
}
