"""Policies made ready to act: the same actions, compiled or not."""

from __future__ import annotations

import pytest
import torch

from surform.robotics import acting, ready_to_act
from tests.data.demonstration_files import write_demonstrations
from tests.robotics.policies import NETS, data, fitted


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    return write_demonstrations(tmp_path_factory.mktemp("demos") / "demos.h5", camera=16)


def acted(policy, batch: int = 1):
    """The chunks of two steps."""
    memory, found = policy.start(batch), []
    for step in range(2):
        torch.manual_seed(step)
        seen = {"goal": torch.rand(batch, 2), "position": torch.rand(batch, 2)}
        seen["front"] = torch.randint(0, 255, (batch, 16, 16, 3), dtype=torch.uint8)
        actions, memory = policy.act(seen | {"instruction": ["go"] * batch}, memory)
        found.append(actions)
    return torch.cat(found, 1)


@pytest.mark.parametrize("name", NETS)
def test_a_policy_that_is_ready_does_the_same(name, demos, monkeypatch):
    policy = fitted(name, data(name, demos)).double()
    weights = {key: value.clone() for key, value in policy.state_dict().items()}
    expected = [acted(policy, batch) for batch in (1, 2)]
    monkeypatch.setattr(acting, "_HOW", {"backend": "eager", "fullgraph": True})
    for compile in (False, True):
        ready = ready_to_act(policy, compile=compile)
        for batch, wanted in zip((1, 2), expected, strict=True):
            torch.testing.assert_close(acted(ready, batch), wanted, rtol=1e-8, atol=1e-10)
    assert all(torch.equal(value, weights[key]) for key, value in policy.state_dict().items())
    assert not any(p.requires_grad for p in ready.parameters())


@pytest.mark.slow
def test_a_compiled_policy_does_the_same(demos):
    policy = fitted("dit", data("dit", demos))
    ready = ready_to_act(policy, compile=True)
    with torch.inference_mode():
        torch.testing.assert_close(acted(ready), acted(policy), rtol=1e-4, atol=1e-5)


@pytest.mark.fault
def test_what_cannot_be_compiled(demos, monkeypatch):
    policy = fitted("bc_mlp", data("bc_mlp", demos))
    monkeypatch.setenv("CXX", "nothing")
    with pytest.raises(ValueError, match="CXX=nothing is not a program; see surform doctor"):
        ready_to_act(policy, compile=True)
    monkeypatch.delattr(type(policy.net), "compiled_parts")
    with pytest.raises(ValueError, match="BCMLP does not say what of it to compile"):
        ready_to_act(policy, compile=True)
