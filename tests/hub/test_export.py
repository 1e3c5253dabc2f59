"""Programs that need no surform: the same numbers, batches of any size, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from surform.cli import main
from surform.data.images_module import ImagesData
from surform.hub.export import export
from surform.vision.cct import CCT
from surform.vision.classifier import ImageClassifier
from tests.data.image_files import arrays


@pytest.fixture(scope="module")
def model() -> ImageClassifier:
    torch.manual_seed(0)
    net = CCT(image_size=8, num_classes=3, dim=16, depth=1, heads=2, conv_layers=1, kernel_size=3)
    made = ImageClassifier(net)
    data = ImagesData(arrays())
    made.fit_to(data.description(), *data.normalizers())
    return made.eval()


def test_onnx_equals_the_model_for_any_batch(model: ImageClassifier, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model.save_pretrained(tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "small.onnx")]) == 0
    session = runtime.InferenceSession(
        str(tmp_path / "small.onnx"), providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()[0].shape == ["batch", 3, 8, 8]
    for count in (1, 5):
        x = torch.rand(count, 3, 8, 8)
        found = session.run(["output"], {"images": x.numpy()})[0]
        np.testing.assert_allclose(found, model(x).detach().numpy(), atol=1e-4, rtol=0)
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_pt2_equals_the_model(model: ImageClassifier, tmp_path: Path) -> None:
    assert export(model, tmp_path / "small.pt2") <= 1e-5
    program = torch.export.load(tmp_path / "small.pt2").module()
    x = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(program(images=x), model(x))


@pytest.mark.fault
def test_what_is_not_written(
    model: ImageClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"written to one of \.onnx, \.pt2"):
        export(model, tmp_path / "x.pb")
    other = ImageClassifier(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="does not say what it takes"):
        export(other, tmp_path / "x.pt2")
    monkeypatch.setattr("surform.hub.export._TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="would differ from the model by"):
        export(model, tmp_path / "x.pt2")
    assert not list(tmp_path.iterdir())
