"""Policies as programs that need no surform: the actions of `act`, step after step."""

from __future__ import annotations

import pytest
import torch

from surform import create_model
from surform.cli import main
from surform.data.demonstrations_text import embed_text
from surform.hub.export import export
from surform.robotics.policy import Policy
from tests.data.demonstration_files import write_demonstrations
from tests.robotics.policies import LANGUAGE, NETS, data, fitted

SAID = "go to the left"


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    return write_demonstrations(tmp_path_factory.mktemp("demos") / "demos.h5", camera=16)


def observations(steps: int = 4) -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    return [
        {
            "goal": torch.rand(1, 2),
            "position": torch.rand(1, 2),
            "front": torch.randint(0, 255, (1, 16, 16, 3), dtype=torch.uint8),
        }
        for _ in range(steps)
    ]


def windows(seen: list[dict[str, torch.Tensor]], length: int) -> dict[str, torch.Tensor]:
    """The last observations as a program takes them, the first repeated."""
    last = [seen[max(0, len(seen) - length + place)] for place in range(length)]
    return {
        "state": torch.stack([torch.cat((o["goal"], o["position"]), -1) for o in last], 1),
        "front": torch.stack([o["front"] for o in last], 1),
        "language": torch.tensor(embed_text(SAID, LANGUAGE))[None],
    }


@pytest.mark.parametrize("name", [name for name in NETS if name != "rt1"])
def test_a_program_does_what_the_policy_does(name, demos, tmp_path):
    policy = fitted(name, data(name, demos))
    assert export(policy, tmp_path / "policy.pt2") < 1e-4
    program = torch.export.load(tmp_path / "policy.pt2").module()
    names = policy.exportable().example_inputs()
    memory, seen = policy.start(1), []
    for step, one in enumerate(observations()):
        seen.append(one)
        given = {n: v for n, v in windows(seen, policy.net.history).items() if n in names}
        if "start" in names:
            torch.manual_seed(step)
            given["start"] = torch.empty(1, *names["start"].shape[1:]).normal_()
        torch.manual_seed(step)
        wanted, memory = policy.act(one | {"instruction": [SAID]}, memory)
        torch.testing.assert_close(program(**given), wanted, rtol=1e-4, atol=1e-5)


def test_a_program_of_rt1_remembers_tokens(demos, tmp_path):
    policy = fitted("rt1", data("rt1", demos))
    assert export(policy, tmp_path / "policy.pt2") < 1e-4
    program = torch.export.load(tmp_path / "policy.pt2").module()
    example = policy.exportable().example_inputs()
    tokens, count = torch.zeros_like(example["tokens"][:1]), torch.tensor([0])
    memory = policy.start(1)
    told = torch.tensor(embed_text(SAID, LANGUAGE))[None]
    for one in observations(5):
        wanted, memory = policy.act(one | {"instruction": [SAID]}, memory)
        found, tokens = program(front=one["front"], language=told, tokens=tokens, count=count)
        count = (count + 1).clamp(max=tokens.shape[1])
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens, memory.tokens[:, 1:], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_onnx_from_the_command_line(demos, tmp_path, capsys):
    runtime = pytest.importorskip("onnxruntime")
    fitted("dit", data("dit", demos)).save_pretrained(tmp_path / "dit")
    fitted("rt1", data("rt1", demos)).save_pretrained(tmp_path / "rt1")
    for name, count in (("dit", 1), ("rt1", 2)):
        assert main(["export", str(tmp_path / name), str(tmp_path / f"{name}.onnx")]) == 0
        session = runtime.InferenceSession(
            str(tmp_path / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
        assert len(session.get_outputs()) == count
        assert all(one.shape[0] == "batch" for one in session.get_inputs())


@pytest.mark.fault
def test_policies_that_are_not_written(demos, tmp_path):
    policy = Policy(create_model("bc_mlp", action_dim=2, chunk=4, state_dim=4))
    with pytest.raises(ValueError, match="does not know its demonstrations"):
        export(policy, tmp_path / "policy.pt2")
    assert not list(tmp_path.iterdir())
