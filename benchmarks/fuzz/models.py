"""Models and what belongs to them: folders, archives, checkpoints of others, runs, recipes."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.fuzz.formats import Format
from benchmarks.fuzz.mutations import Tree
from surform.cli import fit_config, main
from surform.cli.run_data import data_of
from surform.data.description import FieldsDescription
from surform.data.normalizers import Normalizer
from surform.hub import load_model
from surform.hub.config import read_config
from surform.hub.official.checkpoint import read_checkpoint
from surform.hub.official.fixture import Fixture
from surform.hub.weights import read_tensors
from surform.operators.surrogate import FieldSurrogate
from surform.registry import create_model
from surform.training.checkpoint import load_surrogate
from tests.hub.bundle_files import write_bundle

__all__ = ["FORMATS"]

_GRID = 8
_FILES = ("config.json", "model.safetensors", "README.md")


def _saved(folder: Path, name: str = "model") -> Path:
    """A small trained-looking model of Burgers' equation."""
    torch.manual_seed(0)
    arguments = {"dim": 8, "depth": 1, "heads": 2, "modes": 3, "decoder_dim": 6}
    model = FieldSurrogate(create_model("galerkin1d", **arguments))
    description = FieldsDescription(
        inputs=("a",), targets=("u",), axes=("x",), shape=(_GRID,),
        coordinates={"x": [i / (_GRID - 1) for i in range(_GRID)]}, periodic={"x": False},
        units={"a": "m s-1", "u": "m s-1", "x": "m"}, source={"solver": "burgers"},
    )  # fmt: skip
    one = torch.ones(1)
    model.fit_to(description, Normalizer(0 * one, one), Normalizer(0 * one, one))
    model.metrics = {"relative_l2": 0.0123}
    return Path(model.save_pretrained(folder / name))


def _load(path: Path) -> None:
    load_model(path)


def _archive(folder: Path, name: str) -> Path:
    inside, path = _saved(folder, "inside"), folder / name
    _pack(path, {name: (inside / name).read_bytes() for name in _FILES})
    for each in _FILES:
        (inside / each).unlink()
    inside.rmdir()
    return path


def _pack(path: Path, members: dict[str, bytes]) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


_NAMES = ("../{}", "/tmp/{}", "a/../../{}", "..\\{}", "c:{}", "./../{}", "{}/..", "a/./{}", "\0{}",
          "{}\0.txt", "a" * 300 + "/{}", "config.json/{}", "//{}")  # fmt: skip


def _hostile_zip(tree: Tree, draw: Random) -> Tree:
    """Members with names that leave the folder, links, doubled ones, sizes that are no sizes."""
    (name,) = tree
    inside = zipfile.ZipFile(io.BytesIO(tree[name] or b""))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for info in inside.infolist():
            archive.writestr(zipfile.ZipInfo(info.filename), inside.read(info))
        target = draw.choice((*_FILES, "evil.txt"))
        info = zipfile.ZipInfo(draw.choice(_NAMES).format(target))
        if draw.random() < 0.3:
            info.external_attr = 0o120777 << 16
        content = b"/etc" if draw.random() < 0.5 else bytes(draw.choice((0, 100, 10**6)))
        archive.writestr(info, content, draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    raw = bytearray(out.getvalue())
    if draw.random() < 0.4:  # sizes in the table at the end
        place = raw.find(b"PK\x01\x02") + draw.choice((20, 24, 42))
        raw[place : place + 4] = draw.choice((2**32 - 1, 2**31, 0, 10**9)).to_bytes(4, "little")
    return {name: bytes(raw)}


def _hostile_tar(tree: Tree, draw: Random) -> Tree:
    (name,) = tree
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(tree[name] or b"")) as inside,
        tarfile.open(fileobj=out, mode="w", format=draw.choice((0, 1, 2))) as archive,
    ):
        for info in inside:
            archive.addfile(info, inside.extractfile(info))
        target = draw.choice((*_FILES, "evil.txt"))
        info = tarfile.TarInfo(draw.choice(_NAMES).replace("\0", "_").format(target)[:90])
        info.type = draw.choice((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE,
                                 tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE))  # fmt: skip
        info.linkname = draw.choice(("/etc/passwd", "../..", "config.json", ""))
        archive.addfile(info)
    raw = bytearray(out.getvalue())
    if draw.random() < 0.4:  # the size of the first member
        raw[124:136] = draw.choice((b"77777777777\0", b"\x80" + b"\xff" * 11, b"-0000000001\0"))
    return {name: bytes(raw)}


def _checkpoint(folder: Path, name: str, old: bool = False) -> Path:
    state = {"linear.weight": torch.ones(4, 3), "linear.bias": torch.zeros(4)}
    found = {"state_dict": state, "epoch": 3}
    torch.save(found, folder / name, _use_new_zipfile_serialization=not old)
    return folder / name


def _tensors(folder: Path) -> Path:
    save_file({"linear.weight": torch.ones(4, 3)}, folder / "official.safetensors")
    return folder / "official.safetensors"


def _bundle(folder: Path) -> Path:
    tensors = {f"layer/{n}": torch.arange(6.0).reshape(2, 3) for n in range(3)}
    return write_bundle(folder / "ckpt", tensors, 2)


def _official(path: Path) -> None:
    for tensor in read_checkpoint(path).values():
        tensor.double().sum()


def _fixture(folder: Path) -> Path:
    header = {"system": "galerkin", "kind": "attention", "options": {"norm": "layer"}, "rtol": 1e-9,
              "constructor": {"n_head": 2, "d_model": 4}, "mode": "eval", "dtype": "float64",
              "atol": "1e-9 * max|out|"}  # fmt: skip
    (folder / "case.json").write_text(json.dumps(header))
    values = torch.ones(2, 4, dtype=torch.float64)
    tensors = {f"{name}/x": values.clone() for name in ("in", "out", "param")}
    save_file(tensors, folder / "case.safetensors")
    return folder / "case.json"


def _golden(path: Path) -> None:
    fixture = Fixture.load(path)
    fixture.inputs(fixture.dtype), fixture.parameters(fixture.dtype)


_RECIPE = """\
# A small recipe
seed_everything: 1
model:
  class_path: fields
  init_args:
    net:
      class_path: galerkin1d
      init_args: {dim: 8, depth: 1, heads: 2}
    lr: 1e-3
data:
  class_path: fields
  init_args: {path: flow.zarr, inputs: [a], targets: [u], split: {train: 8}}
trainer: {max_steps: 10, callbacks: []}
"""


def _recipe(folder: Path) -> Path:
    (folder / "recipe.yaml").write_text(_RECIPE)
    return folder / "recipe.yaml"


def _configured(path: Path) -> None:
    fit_config.read_config(str(path))


def _run(folder: Path) -> Path:
    """A run folder as `surform info` and the commands after training find it."""
    run = folder / "run"
    (run / "checkpoints").mkdir(parents=True)
    data = {"class_path": "surform.data.fields_module.FieldsData",
            "init_args": {"path": "flow.zarr", "inputs": ["a"], "targets": ["u"]}}  # fmt: skip
    (run / "config.yaml").write_text(json.dumps({"data": data}, indent=1))
    (run / "summary.json").write_text(json.dumps({"test": {"rmse": 0.5}, "steps": 10}))
    return run


def _shown(path: Path) -> None:
    main(["info", str(path), "--traceback"])
    data_of(str(path))


def _training(folder: Path) -> Path:
    """A training checkpoint of ours."""
    saved = _saved(folder, "inside")
    config, state = read_config(saved), read_tensors(saved / "model.safetensors")
    own: dict[str, Any] = {"format_version": 1, "kind": config.kind, "net": config.net,
                           "settings": config.settings, "description": config.description,
                           "config": {}}  # fmt: skip
    weights = {f"surrogate.{name}": value for name, value in state.items()}
    stored = {"surform_config": own, "global_step": 3, "epoch": 1, "state_dict": weights}
    torch.save(stored, folder / "last.ckpt")
    for name in _FILES:
        (saved / name).unlink()
    saved.rmdir()
    return folder / "last.ckpt"


def _resumed(path: Path) -> None:
    load_surrogate(path)


_zip, _tar = partial(_archive, name="model.zip"), partial(_archive, name="model.tar")
FORMATS = {
    "model-folder": Format(_saved, _load),
    "model-zip": Format(_zip, _load, (), _hostile_zip),
    "model-tar": Format(_tar, _load, (), _hostile_tar),
    "model-tar-gz": Format(partial(_archive, name="model.tar.gz"), _load),
    "official-pt": Format(partial(_checkpoint, name="official.pt"), _official),
    "official-pt-old": Format(partial(_checkpoint, name="official.pth", old=True), _official),
    "official-safetensors": Format(_tensors, _official),
    "official-tensorflow": Format(
        _bundle, _official, ("ckpt.data-00000-of-00002", "ckpt.data-00001-of-00002")
    ),
    "golden-case": Format(_fixture, _golden, ("case.safetensors",)),
    "recipe": Format(_recipe, _configured, ("model", "data", "trainer")),
    "run-folder": Format(_run, _shown),
    "training-checkpoint": Format(_training, _resumed),
}
