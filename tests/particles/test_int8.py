"""Programs of 8-bit integers: the same classes, latencies, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surform.particles.int8 import export_int8, main
from tests.particles.jet_data import jets_path, tagger

onnx = pytest.importorskip("onnx")


@pytest.mark.slow
def test_a_program_of_integers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tagger(dim=16)
    model.save_pretrained(tmp_path / "m")
    out = tmp_path / "jets.onnx"
    assert main([str(tmp_path / "m"), jets_path(), str(out)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("batch  float32 us/jet  int8 us/jet  gain\n    1 ")
    same = float(shown.rpartition("float32: ")[2].partition("%")[0])
    assert same > 85  # an untrained network hardly tells classes apart
    program = onnx.load(out)
    integers = [t for t in program.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    largest = max((int(np.prod(t.dims)) for t in integers), default=0)
    assert largest >= 16 * 32  # weights of the maps, not only their zero points


@pytest.mark.fault
def test_programs_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jets = np.ones((2, 10, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=r"written to \.onnx, not to .*a\.pt2"):
        export_int8(tagger(), jets, tmp_path / "a.pt2")
    with pytest.raises(ValueError, match="particles holds no jets"):
        export_int8(tagger(), jets[:0], tmp_path / "a.onnx")
    with pytest.raises(SystemExit):
        main(["cct-digits", jets_path(), str(tmp_path / "a.onnx")])
    assert "cct-digits is no trained tagger of jets" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
