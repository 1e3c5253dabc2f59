"""Official compact transformers: names, arguments, keys both ways, cases that nobody recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surform.hub.convert import from_official, to_official
from surform.hub.official.cct import SYSTEM
from surform.hub.official.cct_names import official_arguments, published_names
from surform.hub.official.fixture import Fixture
from surform.hub.verify import verify_case
from surform.registry import create_model
from tests.vision.literal_cct import literal_forward

SMALL = {
    "img_size": 16, "embedding_dim": 24, "num_layers": 2, "num_heads": 3, "mlp_ratio": 2,
    "num_classes": 7,
}  # fmt: skip
CONVOLUTIONS = {"kernel_size": 3, "stride": 1, "padding": 1}


def state_of(given: dict[str, Any], scale: float = 0.3) -> dict[str, Tensor]:
    """Random values under the official keys."""
    torch.manual_seed(0)
    name, arguments = SYSTEM.arguments(given)
    net = create_model(name, **arguments).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return SYSTEM.to_official(net.state_dict(), given)


def fixture(given: dict[str, Any], mode: str = "eval", size: tuple[int, int] = (16, 16)) -> Fixture:
    """A case made by the literal formulas under the official names."""
    name, arguments = SYSTEM.arguments(given)
    quiet = dict.fromkeys(SYSTEM.noise, 0.0)
    net = create_model(name, **arguments | quiet).double().train(mode == "train")
    state = state_of(given)
    net.load_state_dict(SYSTEM.to_ours(state, given))
    x = torch.randn(3, arguments["in_channels"], *size).double().requires_grad_()
    y = literal_forward(net, x)
    cotangent = torch.randn_like(y)
    (y * cotangent).sum().backward()
    gradients = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    tensors = {f"param/{k}": v for k, v in state.items()}
    tensors |= {f"grad/{k}": v for k, v in SYSTEM.to_official(gradients, given).items()}
    tensors |= {"in/img": x.detach(), "grad/in/img": x.grad, "out/out": y.detach()}
    tensors["in/cot"] = cotangent
    return Fixture("cct", "model", {}, given, mode, torch.float64, 1e-9, 1e-11, Path("x"), tensors)


@pytest.mark.parametrize(
    "given",
    [
        {"class": "CCT", "n_conv_layers": 3, **CONVOLUTIONS},
        {"class": "CCT", "n_conv_layers": 1, "pooling_kernel_size": 2, "pooling_padding": 0},
        {"class": "ViTLite", "kernel_size": 4, "positional_embedding": "sine"},
        {"class": "CVT", "kernel_size": 8, "positional_embedding": "sine"},
        {"class": "CCT", "positional_embedding": "none", "n_input_channels": 2},
        {**CONVOLUTIONS, "positional_embedding": "sine", "dropout_rate": 0.3},
    ],
)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_other_cases_replay(given, mode):
    case = fixture(SMALL | given, mode)
    report = verify_case(case)
    assert report.passed, report.problem or report.worst
    assert "grad/in/img" in {row.name for row in report.rows}


def test_other_tables_replay():
    tensors = {
        "in/mine_2x3": torch.randn(1, 7, 4).double(),  # a class token beside
        "out/sine_5x6": torch.zeros(1, 5, 6),
        "out/mine_4x5": torch.zeros(1, 21, 4),
    }
    case = Fixture(
        *("cct", "pos_embed_resize", {}, {}, "n/a", torch.float64, 1e-6, 1e-6, Path("x"), tensors)
    )
    rows = {row.name: row for row in verify_case(case).rows}
    assert set(rows) == {"out/sine_5x6", "out/mine_4x5"}
    assert not any(row.remark for row in rows.values())  # of the right shape, other than zeros
    assert not any(row.passed for row in rows.values())


@pytest.mark.parametrize("cls", ["CCT", "CVT", "ViTLite"])
def test_keys_go_to_ours_and_back(cls):
    given = SMALL | {"class": cls, "kernel_size": 4}
    state = state_of(given)
    back = SYSTEM.to_official(SYSTEM.to_ours(state, given), given)
    assert list(back) == list(state)
    assert all(torch.equal(back[key], state[key]) for key in state)
    assert state["classifier.blocks.1.self_attn.qkv.weight"].shape == (72, 24)
    assert ("classifier.class_emb" in state) == (cls == "ViTLite")
    assert ("tokenizer.conv_layers.0.0.bias" in state) == (cls != "CCT")


@pytest.mark.parametrize("ending", ["", "_sine"])
@pytest.mark.parametrize("name", published_names())
def test_bare_checkpoints_of_published_sizes_are_recognised(name, ending):
    given = official_arguments(name + ending)
    with torch.device("meta"):
        model, arguments = SYSTEM.arguments(given)
        shapes = create_model(model, **arguments).state_dict()
    shapes = SYSTEM.to_official(shapes, given)
    state = {k: torch.zeros(v.shape) for k, v in shapes.items() if "blocks.1" not in k}
    state |= {k: v for k, v in shapes.items() if "blocks.1" in k}
    found = SYSTEM.arguments(SYSTEM.infer(state))
    wanted = arguments | {"legacy_sine": False, "positions": "learnable"}
    for rate in ("drop_path", "attention_dropout", "dropout"):
        assert found[1].pop(rate) == wanted.pop(rate)
    if model == "vit_lite":
        wanted.pop("legacy_sine")
    assert found == (model, wanted)


def test_names_that_the_official_factories_spoil():
    assert official_arguments("cct_7_3x1_32_sine_c100")["num_classes"] == 100
    assert SYSTEM.arguments({"name": "cct_7_3x1_32_sine"})[1]["legacy_sine"] is True
    assert "legacy_sine" not in SYSTEM.arguments({"name": "vit_7_4_32_sine"})[1]
    assert SYSTEM.arguments({"name": "cvt_7_4_32_sine", "legacy_sine": False})[1]["positions"]
    assert SYSTEM.arguments({"name": "cct_2_3x2_32", "num_classes": 3})[1]["num_classes"] == 3


def test_what_the_official_code_swallows_has_no_effect():
    swallowed = {"drop_rate": 0.5, "drop_path_rate": 0.5, "in_chans": 1, "pretrained": True}
    assert SYSTEM.arguments(SMALL | swallowed) == SYSTEM.arguments(SMALL)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"class": "DeiT"}, "class is 'DeiT', but must be one of CCT, CVT, ViTLite"),
        ({"num_head": 3}, "has no argument 'num_head': did you mean 'num_heads'"),
        ({"class": "CVT", "n_conv_layers": 1}, "CVT has no argument 'n_conv_layers'"),
        ({"name": "cct_5_3x1_32"}, "is no published compact transformer"),
    ],
)
def test_wrong_constructors_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        SYSTEM.arguments(given)


def test_a_checkpoint_tells_its_classes_and_kind_of_positions(tmp_path):
    for name, positions in (("cct_2_3x2_32", "learnable"), ("vit_2_4_32_sine", "sine")):
        given = official_arguments(name) | {"num_classes": 6}
        state = {key: value.float() for key, value in state_of(given).items()}
        torch.save(state, tmp_path / "checkpoint.pth")
        for constructor in (None, {"name": name}):
            net = from_official(tmp_path / "checkpoint.pth", "cct", constructor).model.net
            assert net.arguments["positions"] == positions
            assert net.encoder.head.out_features == 6
            assert set(SYSTEM.to_official(net.state_dict(), {})) == set(state)


@pytest.mark.parametrize("cls", ["CCT", "CVT", "ViTLite"])
def test_models_are_written_for_the_official_code(cls, tmp_path):
    given = SMALL | {"class": cls, "kernel_size": 4, "positional_embedding": "sine"}
    state = {k: v.float() for k, v in state_of(given).items()}
    torch.save(state, tmp_path / "one.pth")
    model = from_official(tmp_path / "one.pth", "cct", given).model
    written = to_official(model, "cct", tmp_path / "out")
    constructor = json.loads((written / "constructor.json").read_text())
    assert {k: constructor[k] for k in given} == given
    back = torch.load(written / "weights.pth", weights_only=True)["state_dict"]
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    twin = from_official(written / "weights.pth", "cct", constructor).model
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(twin.net(x), model.net(x))


def test_what_the_official_code_cannot_build_is_refused(tmp_path):
    wrapped = from_official(_saved(tmp_path), "cct", SMALL | CONVOLUTIONS).model
    wrapped.net = create_model("cct", image_size=(16, 24), dim=8, depth=1, heads=1)
    with pytest.raises(ValueError, match="the official code takes square images only"):
        to_official(wrapped, "cct", tmp_path / "out")


def _saved(folder: Path) -> Path:
    torch.save({k: v.float() for k, v in state_of(SMALL | CONVOLUTIONS).items()}, folder / "s.pth")
    return folder / "s.pth"


def test_a_size_that_nobody_published_asks_for_its_heads(tmp_path):
    given = SMALL | CONVOLUTIONS
    torch.save({k: v.float() for k, v in state_of(given).items()}, tmp_path / "small.pth")
    with pytest.raises(ValueError, match="2 layers, width 24 and mlp_ratio 2, which is no publish"):
        from_official(tmp_path / "small.pth", "cct")
    model = from_official(tmp_path / "small.pth", "cct", given).model
    assert model.net.arguments["heads"] == 3


def test_what_vit_pytorch_is_not_told_it_takes_from_its_own_defaults(tmp_path):
    peer = pytest.importorskip("vit_pytorch.cct")
    given = SMALL | CONVOLUTIONS | {"embedding_dim": 48}
    given = {k: v for k, v in given.items() if k not in ("num_heads", "class")}
    theirs = peer.CCT(**given).eval()
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    given["class"] = "vit_pytorch.cct.CCT"
    net = from_official(tmp_path / "theirs.pt", "cct", given).model.net
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(net(x), theirs(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("positions", ["learnable", "sine", "none"])
def test_vit_pytorch_converts_with_identical_keys_and_logits(positions, tmp_path):
    peer = pytest.importorskip("vit_pytorch.cct")
    given = SMALL | CONVOLUTIONS | {"n_conv_layers": 2, "positional_embedding": positions}
    torch.manual_seed(0)
    theirs = peer.CCT(**given).eval()
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    net = from_official(tmp_path / "theirs.pt", "cct", given).model.net
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(net(x), theirs(x), rtol=0, atol=1e-5)
    back = SYSTEM.to_official(net.state_dict(), given)
    assert set(back) == set(theirs.state_dict())
    theirs.load_state_dict(back)
