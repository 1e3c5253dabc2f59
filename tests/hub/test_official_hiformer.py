"""Parity of Hiformer and its baselines: golden cases, other cases, checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from surform import create_model, load_model
from surform.hub.convert import to_official
from surform.hub.official.fixture import Fixture
from surform.hub.official.hiformer import SYSTEM
from surform.hub.verify import find_cases, verify_case
from tests.recommenders.literal_hiformer import literal_logits

GOLDEN = Path(__file__).parents[1] / "golden" / "hiformer"


@pytest.mark.parametrize("dtype", [None, torch.float32])
@pytest.mark.parametrize("case", find_cases([GOLDEN]), ids=lambda path: path.stem)
def test_golden_cases(case: Path, dtype: torch.dtype | None) -> None:
    report = verify_case(Fixture.load(case), dtype)
    assert report.passed, report.problem or report.worst


OTHERS: dict[str, dict[str, Any]] = {
    "feature, pre, unpruned": {"attention": "feature", "norm": "pre", "prune_last": False},
    "composite, two layers": {"attention": "composite", "layers": 2, "tasks": 3},
    "shared, none": {"attention": "shared", "norm": "none", "layers": 2},
    "positions of own weights": {"attention": "feature", "pos_embed": True},
    "no numbers": {"attention": "lowrank", "dense_in": 0, "dense_tokens": 0},
    "no categories": {"attention": "composite", "vocab": [], "layers": 2},
    "lowrank, unpruned": {"attention": "lowrank", "prune_last": False, "eps": 0.1},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_cases_replay(name: str, tmp_path: Path) -> None:
    """Cases of other sizes and options, made by the literal formulas."""
    given = {
        "d": 5, "H": 3, "dk": 2, "dv": 4, "df": 7, "tasks": 1, "vocab": [4, 6], "dense_in": 3,
        "dense_hidden": 8, "dense_tokens": 2, "layers": 1, "rank_k": 3, "rank_v": 5,
        "prune_last": True, "norm": "post", "eps": 1e-6, "pos_embed": False,
    } | OTHERS[name]  # fmt: skip
    torch.manual_seed(0)
    system, arguments = SYSTEM.arguments(given)
    net = create_model(system, **arguments).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.4)
    columns = [torch.randint(size, (3, 1)) for size in given["vocab"]]
    ids = torch.cat([torch.zeros(3, 0, dtype=torch.int64), *columns], 1)
    numbers = torch.randn(3, given["dense_in"]).double()
    mean, std = torch.randn(given["dense_in"]).double(), torch.rand(given["dense_in"]).double() + 1
    numbers.requires_grad_()
    standard = (numbers - mean) / std if given["dense_in"] else None
    logits, cotangent = literal_logits(net, ids, standard), torch.randn(3, given["tasks"]).double()
    logits.backward(cotangent)
    grads = {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in net.named_parameters()
    }
    tensors = {"in/categorical": ids, "in/cot": cotangent, "out/logits": logits.detach()}
    tensors |= {f"param/{k}": v for k, v in SYSTEM.to_official(net.state_dict(), given).items()}
    tensors |= {f"grad/{k}": v for k, v in SYSTEM.to_official(grads, given).items()}
    if given["dense_in"]:
        tensors |= {"param/dense_mean": mean, "param/dense_std": std, "in/dense": numbers.detach()}
        tensors["grad/in/dense"] = numbers.grad  # type: ignore[assignment]
    header = {
        "system": "hiformer", "kind": "model", "options": {}, "constructor": given, "mode": "eval",
        "dtype": "float64", "rtol": 1e-9, "atol": 1e-10,
    }  # fmt: skip
    (tmp_path / "case.json").write_text(json.dumps(header))
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "case.safetensors")
    report = verify_case(Fixture.load(tmp_path / "case.json"))
    assert report.passed, report.problem or report.worst
    assert len(report.rows) == sum(k.startswith(("out/", "grad/")) for k in tensors)
    _round_trip(tensors, ids, numbers.detach(), logits.detach(), given, tmp_path)


def _round_trip(tensors, ids, numbers, logits, given, folder: Path) -> None:
    """A bare state dict is read without its constructor (but for eps), and written again."""
    state = {k.removeprefix("param/"): v.contiguous() for k, v in tensors.items() if "param/" in k}
    save_file(state, folder / "weights.safetensors")
    told = None if given["eps"] == 1e-6 else given
    model = load_model(folder / "weights.safetensors", system="hiformer", constructor=told)
    dense = numbers if given["dense_in"] else None
    assert torch.allclose(model(ids, dense), logits, rtol=1e-9, atol=1e-10)
    to_official(model, "hiformer", folder / "written")
    written = torch.load(folder / "written" / "weights.pth", weights_only=True)["state_dict"]
    for key, value in written.items():
        assert torch.equal(value, state[key]), key


def test_layers_of_autoint_are_as_wide_as_their_input_by_default(tmp_path: Path) -> None:
    case = GOLDEN / "baseline_autoint_2layer"
    header = json.loads(case.with_suffix(".json").read_text())
    del header["constructor"]["layers"][1]["attention_dim"]
    (tmp_path / "case.json").write_text(json.dumps(header))
    (tmp_path / "case.safetensors").write_bytes(case.with_suffix(".safetensors").read_bytes())
    report = verify_case(Fixture.load(tmp_path / "case.json"))
    assert report.passed, report.problem or report.worst


@pytest.mark.fault
def test_what_is_no_recorded_hiformer(tmp_path: Path) -> None:
    case = GOLDEN / "hetero_2layer_post"
    header = json.loads(case.with_suffix(".json").read_text())
    state = load_file(case.with_suffix(".safetensors"))
    params = {k.removeprefix("param/"): v for k, v in state.items() if k.startswith("param/")}
    del params["layers.0.k.bias"]
    save_file(params, tmp_path / "weights.safetensors")
    given = header["constructor"]
    with pytest.raises(ValueError, match=r"1 missing: layers\.0\.k\.bias"):
        load_model(tmp_path / "weights.safetensors", system="hiformer", constructor=given)
    with pytest.raises(ValueError, match="has no argument 'rankk': did you mean 'rank_k'"):
        SYSTEM.arguments(given | {"rankk": 3})
    with pytest.raises(ValueError, match="recorded Hiformers have no deep, this network has"):
        to_official(_deep(), "hiformer", tmp_path / "out")


def _deep() -> Any:
    from surform.recommenders.ranker import Ranker

    return Ranker(create_model("hiformer", vocab_sizes=(3,), deep=(4,)))
