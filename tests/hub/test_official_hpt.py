"""The official HPT: keys both ways, trunk files, constructors."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from surform.hub.convert import from_official
from surform.hub.official.hpt import SYSTEM, read_trunk
from surform.registry import create_model
from surform.robotics.hpt_trunk import Trunk

GOLDEN = Path(__file__).parents[1] / "golden" / "hpt"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))


def constructor(case: str = "mean_mlp_head") -> dict[str, Any]:
    return json.loads((GOLDEN / f"{case}.json").read_text())["constructor"]


@pytest.mark.parametrize("case", CASES)
def test_keys_go_to_ours_and_back_by_file(case, tmp_path):
    given = constructor(case)
    name, arguments = SYSTEM.arguments(given)
    torch.manual_seed(0)
    net = create_model(name, **arguments)
    state = SYSTEM.to_official(net.state_dict(), given)
    torch.save(state | {"modalities_tokens.image": torch.zeros(1, 1, 16)}, tmp_path / "model.pth")
    model = from_official(tmp_path / "model.pth", "hpt", given).model
    back = SYSTEM.to_official(model.net.state_dict(), given)
    assert set(back) == set(state)
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize("whole", [False, True])
def test_trunk_files(whole, tmp_path):
    given = constructor()
    name, arguments = SYSTEM.arguments(given)
    net = create_model(name, **arguments)
    state = SYSTEM.to_official(net.state_dict(), given)
    if not whole:
        state = {k[6:]: v for k, v in state.items() if k.startswith("trunk.")}
    torch.save(state, tmp_path / "trunk.pth")
    trunk = Trunk(16, 2, 4, 0.1)
    trunk.load_state_dict(read_trunk(tmp_path / "trunk.pth"))
    for key, value in net.trunk.state_dict().items():
        assert torch.equal(trunk.state_dict()[key], value)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("head", "_target_"), "hpt.models.policy_head.Conv1D", "'Conv1D' is not supported"),
        (("stem", "image", "widths"), [12, 12], "must have the same"),
        (("policy", "token_postprocessing"), "attentive", "is 'attentive': the official code"),
    ],
)
def test_constructors_that_are_refused(path, value, message):
    given = copy.deepcopy(constructor())
    place = given
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        SYSTEM.arguments(given)


@pytest.mark.fault
def test_files_without_a_trunk(tmp_path):
    torch.save({"heads.dom.net.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="holds no trunk"):
        read_trunk(tmp_path / "other.pth")
