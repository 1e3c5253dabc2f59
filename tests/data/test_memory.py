"""Data larger than memory are streamed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

GIGABYTES = 0.75
SCRIPT = """
import resource, sys
from surform.data.fields_module import FieldsData

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

name = sys.argv[2]
data = FieldsData(sys.argv[1], [name], [name], input_steps=4, target_steps=2, cache="files",
                  split={"train": 8, "test": 8})
data.description()
before = peak()
data.normalizers()
for number, batch in enumerate(data.test_dataloader()):
    if number == 10:
        break
print(peak() - before)
"""


@pytest.mark.parametrize("layout", ["zarr", "pdebench"])
def test_a_file_larger_than_the_memory_allowed_is_streamed(tmp_path: Path, layout: str) -> None:
    shape = (16, int(GIGABYTES * 2**30) // (4 * 16 * 256**2), 256, 256)
    if layout == "zarr":
        path, name = tmp_path / "large.zarr", "w"
        group = zarr.open_group(path, mode="w", zarr_format=3)
        # chunks that were never written take no space and read as the fill value
        group.create_array(
            name, shape=shape, chunks=(1, 8, 256, 256), dtype="f4", fill_value=1.5,
            dimension_names=["sample", "time", "x", "y"],
        )  # fmt: skip
    else:
        path, name = tmp_path / "large.h5", "tensor"
        with h5py.File(path, "w") as file:
            file.create_dataset(name, shape, "f4", chunks=(1, 8, 256, 256), fillvalue=1.5)
            file["x-coordinate"] = file["y-coordinate"] = np.arange(256.0)
    command = [sys.executable, "-c", SCRIPT, str(path), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    extra = float(done.stdout)  # MiB
    assert extra < 150
