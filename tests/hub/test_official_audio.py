"""Official AST, PaSST and adapters: numbers, keys both ways, constructors, transformers' AST."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import surform
from surform.hub.convert import from_official, to_official
from surform.hub.hugging_face import save_hugging_face
from surform.hub.official.fixture import Fixture
from surform.hub.verify import find_cases, verify_case
from surform.registry import create_model, find

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = find_cases([GOLDEN / name for name in ("ast", "passt", "soft_moa")])
NETWORKS = [path for path in CASES if "adapt_" not in path.stem]


def opened(path: Path) -> tuple[Any, dict[str, Any]]:
    header = json.loads(path.read_text())
    return find("official", header["system"]), header["constructor"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_official_numbers(case: Path, dtype: torch.dtype) -> None:
    report = verify_case(Fixture.load(case), dtype)
    assert report.passed, report.problem or report.worst


@pytest.mark.parametrize("case", NETWORKS, ids=lambda path: path.stem)
def test_keys_go_to_ours_and_back_by_file(case: Path, tmp_path: Path) -> None:
    system, constructor = opened(case)
    name, arguments = system.arguments(constructor)
    net = create_model(name, **arguments)
    state = system.to_official(net.state_dict(), constructor)
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "model.pth")
    model = from_official(tmp_path / "model.pth", system.name, constructor).model
    back = system.to_official(model.net.state_dict(), constructor)
    assert set(back) == set(state)
    assert all(torch.equal(back[key], state[key]) for key in state)
    if system.describe is not None:
        described = system.describe(net)
        again = system.arguments(described)[1]
        assert {key: again[key] for key in arguments} == arguments


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ast", {"stride": (12, 12), "num_classes": 3, "dim": 192, "heads": 3, "depth": 1}),
        ("passt", {"num_classes": 3, "dim": 192, "heads": 3, "depth": 1, "cut_long": True}),
    ],
)
def test_published_strides_are_read_off_the_weights(
    name: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    net = create_model(name, **arguments)
    model = find("surrogates", "audio")(net)
    to_official(model, name, tmp_path / "official")
    found: Any = from_official(tmp_path / "official" / "weights.pth", name).model
    x = torch.randn(1, net.arguments["frames"], 128)
    with torch.no_grad():
        torch.testing.assert_close(found(x), net.eval()(x))


@pytest.mark.fault
def test_what_the_official_code_does_not_have_is_refused(tmp_path: Path) -> None:
    ast, passt, moa = (find("official", name) for name in ("ast", "passt", "soft_moa"))
    with pytest.raises(ValueError, match="model_size is 'huge', but must be one of tiny224"):
        ast.arguments({"model_size": "huge"})
    with pytest.raises(ValueError, match="no pooling='mean'"):
        ast.describe(create_model("ast", frames=32, mel_bins=20, pooling="mean", dim=16, heads=4))
    with pytest.raises(ValueError, match="gives 17 rows of patches, but the official table"):
        passt.arguments({"stride": 7, "distilled": True})
    given = {"class": "AST_MoA", "reduction_rate": 8, "num_classes": 2, "max_length": 32}
    with pytest.raises(ValueError, match="adapter_type is 'LoRA', but must be Pfeiffer"):
        moa.arguments(given | {"adapter_type": "LoRA"})
    torch.save({"v.pos_embed": torch.zeros(1, 9, 16), "mlp_head.1.weight": torch.zeros(2, 16),
                "v.blocks.0.norm1.bias": torch.zeros(16)}, tmp_path / "x.pth")  # fmt: skip
    with pytest.raises(ValueError, match="7 positions and width 16, which is no published AST"):
        from_official(tmp_path / "x.pth", "ast")


def test_transformers_ast_survives_both_ways(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ASTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        patch_size=8, frequency_stride=6, time_stride=5, num_mel_bins=20, max_length=32,
        num_labels=5,
    )  # fmt: skip
    torch.manual_seed(0)
    net = transformers.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    net.save_pretrained(tmp_path / "theirs")
    model: Any = surform.load_model(tmp_path / "theirs")
    x = torch.randn(3, 32, 20)
    with torch.no_grad():
        expected = net(x).logits
        assert (model(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
    save_hugging_face(model, tmp_path / "back")
    again = transformers.ASTForAudioClassification.from_pretrained(tmp_path / "back").eval()
    with torch.no_grad():
        assert torch.equal(again(x).logits, expected)


def test_the_official_eps_is_lost_in_transformers_with_a_warning(tmp_path: Path) -> None:
    net = create_model("ast", frames=32, mel_bins=20, patch_size=8, stride=6, dim=16, heads=4)
    model = find("surrogates", "audio")(net)
    with pytest.warns(UserWarning, match="the head's 1e-05 is lost"):
        save_hugging_face(model, tmp_path / "theirs")
    model.net = create_model("ast", **net.arguments | {"pooling": "mean"})
    with pytest.raises(ValueError, match="no counterpart of other poolings"):
        save_hugging_face(model, tmp_path / "other")
