from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from surform.hub import load_model

FILES = ("config.json", "model.safetensors", "README.md")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Archives are unpacked below `tmp_path`, so that what leaves their folder is found there."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path


def make_zip(folder: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as out:
        for name in FILES:
            out.write(folder / name, prefix + name)
    return archive


def make_tar(folder: Path, archive: Path, prefix: str = "") -> Path:
    with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as out:
        for name in FILES:
            out.add(folder / name, prefix + name)
    return archive


@pytest.mark.parametrize("name", ["m.zip", "m.tar", "m.tar.gz", "m.tgz"])
@pytest.mark.parametrize("prefix", ["", "model/", "./", "a/b/"])
def test_archives_load_like_the_folder(saved, surrogate, fields, tmp_path, name, prefix):
    make = make_zip if name.endswith("zip") else make_tar
    if name.endswith("zip"):
        prefix = prefix.removeprefix("./")
    loaded = load_model(make(saved, tmp_path / name, prefix))
    assert torch.equal(loaded(*fields), surrogate(*fields))


@pytest.mark.fault
@pytest.mark.parametrize(
    "evil", ["../evil.txt", "a/../../evil.txt", "{here}/evil.txt", "c:evil", "..\\evil"]
)
def test_zip_slip_is_refused(saved, here, evil):
    archive = make_zip(saved, here / "m.zip")
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(evil.format(here=here), "evil")
    with pytest.raises(ValueError, match=r"leaves its folder|absolute or foreign path"):
        load_model(archive)
    assert not list(here.rglob("*evil*"))


@pytest.mark.fault
@pytest.mark.parametrize("evil", ["../evil.txt", "{here}/evil.txt"])
def test_tar_traversal_is_refused(saved, here, evil):
    archive = make_tar(saved, here / "m.tar")
    with tarfile.open(archive, "a") as out:
        info = tarfile.TarInfo(evil.format(here=here))
        info.size = 4
        out.addfile(info, io.BytesIO(b"evil"))
    with pytest.raises(ValueError, match=r"leaves its folder|absolute or foreign path"):
        load_model(archive)
    assert not list(here.rglob("*evil*"))


@pytest.mark.fault
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(saved, tmp_path, kind):
    archive = make_tar(saved, tmp_path / "m.tar")
    with tarfile.open(archive, "a") as out:
        info = tarfile.TarInfo("README.md")
        info.type, info.linkname = kind, "/etc/passwd"
        out.addfile(info)
    with pytest.raises(ValueError, match=r"holds a link \(README\.md -> /etc/passwd\)"):
        load_model(archive)


@pytest.mark.fault
def test_devices_in_a_tar_are_refused(saved, tmp_path):
    archive = make_tar(saved, tmp_path / "m.tar")
    with tarfile.open(archive, "a") as out:
        info = tarfile.TarInfo("pipe")
        info.type = tarfile.FIFOTYPE
        out.addfile(info)
    with pytest.raises(ValueError, match="device or pipe"):
        load_model(archive)


@pytest.mark.fault
def test_symbolic_links_in_a_zip_are_refused(saved, tmp_path):
    archive = make_zip(saved, tmp_path / "m.zip")
    with zipfile.ZipFile(archive, "a") as out:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        out.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="symbolic link"):
        load_model(archive)


def test_other_members_are_not_written(saved, tmp_path):
    from surform.hub.archive import unpack

    archive = make_zip(saved, tmp_path / "m.zip")
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr("setup.py", "import os")
    target = tmp_path / "out"
    target.mkdir()
    unpack(archive, target)
    assert sorted(p.name for p in target.iterdir()) == sorted(FILES)


@pytest.mark.fault
@pytest.mark.parametrize("name", ["m.zip", "m.tgz"])
def test_archives_that_unpack_to_far_more_than_they_are(saved, here, name):
    (saved / "model.safetensors").write_bytes(bytes(20 << 20))
    if name.endswith("zip"):
        with zipfile.ZipFile(here / name, "w", zipfile.ZIP_DEFLATED) as out:
            for file in FILES:
                out.write(saved / file, file)
    else:
        make_tar(saved, here / name)
    with pytest.raises(ValueError, match=r"would unpack 20,971,520 bytes of model\.safetensors"):
        load_model(here / name)
    assert not list((here / "temporary").iterdir())


@pytest.mark.fault
@pytest.mark.parametrize("name", ["m.zip", "m.tar", "m.tar.gz"])
def test_truncated_archives(saved, tmp_path, name):
    make = make_zip if name.endswith("zip") else make_tar
    archive = make(saved, tmp_path / name)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"damaged|truncated"):
        load_model(archive)


@pytest.mark.fault
def test_an_archive_with_two_models_or_none(saved, tmp_path):
    archive = make_zip(saved, tmp_path / "m.zip", "one/")
    with zipfile.ZipFile(archive, "a") as out:
        out.write(saved / "config.json", "two/config.json")
    with pytest.raises(ValueError, match=r"2 files named config\.json"):
        load_model(archive)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as out:
        out.writestr("notes.txt", "hello")
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_model(tmp_path / "empty.zip")


def test_errors_name_the_archive_not_the_temporary_folder(saved, tmp_path):
    archive = make_zip(saved, tmp_path / "m.zip")
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(tmp_path / "n.zip", "w") as out:
        for name in ("config.json", "README.md"):
            out.writestr(name, source.read(name))
    with pytest.raises(FileNotFoundError, match=r"n\.zip has no model\.safetensors"):
        load_model(tmp_path / "n.zip")
