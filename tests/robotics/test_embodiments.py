"""Two robots, one trunk: windows of both, training, saving, the policy of each, faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import AdamW

import surform
from surform import create_model
from surform.cli import main
from surform.data.demonstrations_write import DemonstrationWriter
from surform.data.embodiments_module import EmbodimentsData
from surform.data.environments.point_reach import PointReach
from surform.robotics.embodied_policy import EmbodiedPolicy
from surform.robotics.embodied_task import EmbodiedTask
from tests.data.demonstration_files import write_demonstrations
from tests.training.toy import trainer

ROBOTS = {
    "point": {"action_dim": 2, "chunk": 4, "features": {"state": 4},
              "history": 2},
    "reach": {"action_dim": 2, "chunk": 3, "features": {"state": 8, "language": 16},
              "history": 1},
}  # fmt: skip
SMALL = {"tokens": 2, "stem_hidden": (8,), "stem_heads": 2, "stem_head_dim": 4,
         "head_hidden": (16, 16), "stem_dropout": 0.0, "head_dropout": 0.0}  # fmt: skip
WINDOWS = {
    "point": {"history": 2, "chunk": 4, "split": {"train": "train", "validation": "valid"}},
    "reach": {"chunk": 3, "language": "text", "language_dim": 16,
              "split": {"train": 4, "validation": 2}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


def reaching(path: Path) -> Path:
    """Six episodes of the expert of point-reach."""
    with DemonstrationWriter(path, {"env_name": "point-reach", "env_kwargs": {}}) as writer:
        for seed in range(6):
            environment = PointReach("red")
            seen, _ = environment.reset(seed=seed)
            act, states, actions, done = environment.expert(), [], [], False
            while not done:
                states.append(seen["state"])
                actions.append(act(seen))
                seen, _, _, _, info = environment.step(actions[-1])
                done = info["success"]
            writer.add(
                np.stack(actions), {"state": np.stack(states)}, np.zeros(len(actions)),
                np.ones(len(actions)), task="red", instruction=environment.instruction,
            )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("robots")
    point = write_demonstrations(folder / "point.h5", steps=6)
    return {"point": str(point), "reach": str(reaching(folder / "reach.h5"))}


def data(paths, **options) -> EmbodimentsData:
    return EmbodimentsData(paths, WINDOWS, **{"batch_size": 32} | options)


def network():
    torch.manual_seed(0)
    robots = {name: own | SMALL for name, own in ROBOTS.items()}
    return create_model("hpt_embodiments", embodiments=robots, dim=16, depth=2, heads=2)


def task(**options) -> EmbodiedTask:
    return EmbodiedTask(network(), optimizer=lambda p: AdamW(p, lr=1e-2), **options)


def test_a_batch_has_windows_of_both(paths):
    loaded = data(paths)
    samples = loaded.samples("train")
    sizes = [len(own.samples("train")) for own in loaded.robots.values()]
    assert len(samples) == sum(sizes)
    asked = [sizes[0], 2, sizes[0] + 1, 0]
    batch = samples[asked]
    assert batch.rows["point"].tolist() == [1, 3]
    assert batch.rows["reach"].tolist() == [0, 2]
    for name, own in (("point", [2, 0]), ("reach", [0, 1])):
        wanted = loaded.robots[name].samples("train")[own]
        assert torch.equal(batch.parts[name].actions, wanted.actions)
        assert torch.equal(batch.parts[name].state, wanted.state)
    assert samples.labels(batch.index)["robot"] == ["reach", "point", "reach", "point"]
    assert list(samples[[0, 1]].parts) == ["point"]


def test_there_is_one_trunk_and_both_robots_train_it(paths):
    module, loaded = task(), data(paths)
    policy = module.surrogate
    policy.fit_to(loaded.description(), *loaded.normalizers())
    net = policy.net
    assert net["point"].trunk is net["reach"].trunk is net.trunk
    names = [name for name, _ in net.named_parameters()]
    assert not [name for name in names if name.startswith("robots.") and "trunk" in name]
    assert set(net.state_dict()) == {*names, *(name for name, _ in net.named_buffers())}
    both = loaded.samples("train")[range(0, len(loaded.samples("train")), 3)]
    for name in ROBOTS:
        net.zero_grad()
        net[name].learn(policy.window(name, both.parts[name])).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.trunk.parameters())
    other = {"point": "reach", "reach": "point"}[name]
    assert all(p.grad is None for p in net[other].head.parameters())
    module.eval()
    losses = [net[n].learn(policy.window(n, p)) * len(p) for n, p in both.parts.items()]
    torch.testing.assert_close(module.training_loss(both)[1], torch.stack(losses).sum() / len(both))


def test_training_learns_both_and_the_figures_are_of_both(paths, tmp_path):
    module, loaded = task(ema_decay=0.9), data(paths, batch_size=16)
    run = trainer(tmp_path, max_epochs=40)
    module.surrogate.fit_to(loaded.description(), *loaded.normalizers())
    before = errors_of(module.surrogate, loaded, "train")
    run.fit(module, loaded)
    found = run.validate(module, loaded, verbose=False)[0]
    held_out = errors_of(module.surrogate, loaded, "validation")
    wanted = torch.cat(list(held_out.values())).mean().item()
    assert found["validation/action_l1/clean"] == pytest.approx(wanted, rel=1e-4)
    after = errors_of(module.surrogate, loaded, "train")
    for name in ROBOTS:
        assert after[name].mean() < 0.7 * before[name].mean()


def errors_of(policy: EmbodiedPolicy, loaded: EmbodimentsData, split: str) -> dict[str, Tensor]:
    """Errors of each window, in halves of the range of each number."""
    batch = loaded.samples(split)[range(len(loaded.samples(split)))]
    found = {}
    with torch.no_grad():
        for name, part in batch.parts.items():
            robot = policy.robot(name).eval()
            span = torch.tensor(robot.description.action_limits).diff(dim=1)[:, 0] / 2
            off = ((robot.outputs(part) - part.actions) / span).abs().mean(-1)
            found[name] = (off * part.mask).sum(1) / part.mask.sum(1)
    return found


def test_one_robot_acts_and_is_saved_alone(paths, tmp_path):
    loaded, policy = data(paths), EmbodiedPolicy(network())
    policy.fit_to(loaded.description(), *loaded.normalizers())
    policy.eval()
    for place, model in (("both", policy), ("point", policy.robot("point"))):
        model.save_pretrained(tmp_path / place)
    again = surform.load_model(tmp_path / "both")
    alone = surform.load_model(tmp_path / "point")
    seen = {"position": torch.tensor([[0.1, 0.2]]), "goal": torch.tensor([[1.0, 0.5]])}
    found = [
        p.act(seen, p.start(1))[0] for p in (policy.robot("point"), again.robot("point"), alone)
    ]
    assert found[0].shape == (1, 4, 2)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert again.description == policy.description
    assert again.robot_for("point-reach").description.chunk == 3


def test_the_command_line_trains_both_and_lets_each_act(paths, tmp_path, capsys):
    config = {
        "model": {"class_path": "embodied_policy", "init_args": {"net": {
            "class_path": "hpt_embodiments", "init_args": {
                "embodiments": {n: own | SMALL for n, own in ROBOTS.items()},
                "dim": 16, "depth": 1, "heads": 2}}}},
        "data": {"class_path": "embodiments", "init_args": {
            "path": {"point": "a.h5", "reach": "b.h5"}, "embodiments": WINDOWS}},
        "trainer": {"max_steps": 3, "accelerator": "cpu"},
    }  # fmt: skip
    (tmp_path / "two.yaml").write_text(json.dumps(config, default=list))
    words = ["fit", "--config", str(tmp_path / "two.yaml"), "--out", str(tmp_path / "run")]
    words += [word for name, path in paths.items() for word in (f"--data.path.{name}", path)]
    assert main(words) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "point: actions" in page
    assert "reach: actions" in page
    line = ["rollout", str(tmp_path / "run"), "--env", "point-reach", "--task", "red"]
    assert main([*line, "--episodes", "2", "--steps", "3", "--workers", "1"]) == 0
    assert "red" in capsys.readouterr().out
    assert main([*line[:3], "pusht", "--episodes", "1"]) == 2
    assert "0 robots of the model were trained in pusht" in capsys.readouterr().err


@pytest.mark.fault
def test_what_does_not_go_together(paths):
    for given, message in (
        ({"path": {"point": paths["point"]}}, "they must name the same robots"),
        ({"embodiments": WINDOWS | {"point": {"batch_size": 3}}}, "batch_size of point belongs to"),
        ({"embodiments": WINDOWS | {"point": {"chunks": 3}}}, "embodiments.point: .*'chunks'"),
        ({"embodiments": WINDOWS | {"point": {"chunk": 0}}}, "embodiments.point: chunk must be"),
    ):
        with pytest.raises(ValueError, match=message):
            EmbodimentsData(**{"path": paths, "embodiments": WINDOWS} | given)
    with pytest.raises(ValueError, match="path names one robot"):
        EmbodimentsData({"point": paths["point"]}, {"point": {}})
    for robots, message in (
        ({"point": ROBOTS["point"]}, "must name two robots or more"),
        (ROBOTS | {"point": ROBOTS["point"] | {"depth": 3}}, "depth of point is that of the trunk"),
        (ROBOTS | {"point": ROBOTS["point"] | {"deep": 3}}, "embodiments.point: .*'deep'"),
    ):
        with pytest.raises(ValueError, match=message):
            create_model("hpt_embodiments", embodiments=robots, dim=16, heads=2, depth=1)
    policy, loaded = EmbodiedPolicy(network()), data(paths)
    with pytest.raises(ValueError, match="there is no robot 'arm': there are point, reach"):
        policy.robot("arm")
    about = loaded.description()
    wrong = type(about)({"point": about.robots["point"], "arm": about.robots["reach"]})
    with pytest.raises(ValueError, match="has the robots point, reach, the data point, arm"):
        policy.fit_to(wrong, *loaded.normalizers())
    swapped = {"point": about.robots["reach"], "reach": about.robots["point"]}
    with pytest.raises(ValueError, match="point: the network has chunks of 4"):
        policy.fit_to(type(about)(swapped), *loaded.normalizers())
    with pytest.raises(ValueError, match="names the robots point, arm, but the policy"):
        about.require_match(wrong, "data.path")
    with pytest.raises(ValueError, match="HPT is no network of several robots"):
        EmbodiedPolicy(policy.net.alone("point"))
