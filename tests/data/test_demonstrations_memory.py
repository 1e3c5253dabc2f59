"""Demonstrations larger than memory train: only windows are held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from surform.data.demonstrations_write import DemonstrationWriter

# A process that may take 300 MB more than it has once everything is imported.
CHILD = """
import resource, sys
import torch
from surform.data.demonstrations_module import DemonstrationsData

data = DemonstrationsData(sys.argv[1], cameras=["front"], cache=sys.argv[2], batch_size=32)
lines = dict(line.split(":") for line in open("/proc/self/status").read().splitlines())
most = 1024 * int(lines["VmData"].split()[0]) + 300 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (most, most))
for number, batch in enumerate(data.train_dataloader()):
    assert batch.images["front"].shape == (32, 1, 128, 128, 3)
    if number == 40:
        break
print("streamed", data.held_bytes())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_more_images_than_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    with DemonstrationWriter(path, {}) as writer:
        for number in range(22):  # 1000 images of 48 KB each: more than the 1 GiB that is held
            front = np.full((1000, 128, 128, 3), number, np.uint8)
            state = np.zeros((1000, 3))
            writer.add(state, {"state": state, "front": front}, state[:, 0], state[:, 0])
    runs = [
        subprocess.run(
            [sys.executable, "-c", CHILD, str(path), cache], capture_output=True, text=True
        )
        for cache in ("auto", "memory")
    ]
    assert runs[0].returncode == 0, runs[0].stderr
    assert runs[0].stdout.split() == ["streamed", str(2 * 4 * 3 * 22_000)]
    assert "MemoryError" in runs[1].stderr
