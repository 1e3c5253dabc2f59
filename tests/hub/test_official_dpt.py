"""The official decision transformers: keys both ways, constructors, what is left behind."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from surform.hub.convert import from_official
from surform.hub.official.dpt import SYSTEM
from surform.hub.official.fixture import Fixture
from surform.hub.verify import verify_case
from surform.registry import create_model

GOLDEN = Path(__file__).parents[1] / "golden" / "dpt"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))


def constructor(case: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{case}.json").read_text())["constructor"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_official_numbers(case, dtype):
    report = verify_case(Fixture.load(GOLDEN / f"{case}.json"), dtype)
    assert report.passed, report.problem or report.worst


@pytest.mark.parametrize("case", CASES)
def test_keys_go_to_ours_and_back_by_file(case, tmp_path):
    given = constructor(case)
    name, arguments = SYSTEM.arguments(given)
    torch.manual_seed(0)
    net = create_model(name, **arguments)
    state = SYSTEM.to_official(net.state_dict(), given)
    unused = {"transformer.wte.weight": torch.zeros(3, 8)}
    torch.save(state | unused, tmp_path / "model.pt")
    model = from_official(tmp_path / "model.pt", "dpt", given).model
    back = SYSTEM.to_official(model.net.state_dict(), given)
    assert set(back) == set(state)
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize("case", CASES)
def test_a_network_is_described_as_its_constructor(case):
    given = constructor(case)
    name, arguments = SYSTEM.arguments(given)
    described = SYSTEM.describe(create_model(name, **arguments))
    assert SYSTEM.arguments(described) == (name, arguments)


@pytest.mark.parametrize("case", CASES)
def test_in_test_mode_the_last_row_is_given(case):
    fixture = Fixture.load(GOLDEN / f"{case}.json")
    rows = SYSTEM.kinds["model"](fixture, torch.float64).outputs["logits"]
    fixture.constructor["test"] = True
    last = SYSTEM.kinds["model"](fixture, torch.float64).outputs["logits"]
    assert last.shape == rows[:, -1].shape
    if "darkroom" in case:  # the query comes first: both look at the last transition
        assert torch.equal(last, rows[:, -1])


def test_sizes_of_relu_networks_are_read_off_the_weights():
    given = constructor("ad_relu_attention_bandit")
    name, arguments = SYSTEM.arguments(given)
    state = SYSTEM.to_official(create_model(name, **arguments).state_dict(), given)
    assert SYSTEM.infer is not None
    assert SYSTEM.arguments(SYSTEM.infer(state)) == (name, arguments)


@pytest.mark.fault
def test_weights_that_do_not_tell_their_network():
    given = constructor("dpt_gpt2_darkroom")
    name, arguments = SYSTEM.arguments(given)
    state = SYSTEM.to_official(create_model(name, **arguments).state_dict(), given)
    assert SYSTEM.infer is not None
    with pytest.raises(ValueError, match=r"action_dim=5.*n_layer=2.*nor its n_head"):
        SYSTEM.infer(state)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"act_type": "sigmoid"}, "act_type is 'sigmoid', but must be relu or softmax"),
        ({"act_num": 3}, "act_num and action_dim must be the same"),
        ({"image_size": 25}, "network of images is not converted"),
    ],
)
def test_constructors_that_are_refused(changed, message):
    given = copy.deepcopy(constructor("ad_relu_attention_bandit")) | changed
    with pytest.raises(ValueError, match=message):
        SYSTEM.arguments(given)


@pytest.mark.fault
def test_networks_that_the_official_code_cannot_be():
    with pytest.raises(ValueError, match="gpt2 backbone with one head, not gpt2 with 2"):
        SYSTEM.describe(create_model("dpt", actions=3, dim=8, heads=2))
