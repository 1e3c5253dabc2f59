"""Policies: statistics, observations as environments give them, history, saving, what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import surform
from surform.data.demonstrations_files import open_demonstrations
from surform.data.demonstrations_text import embed_text
from surform.data.normalizers import Normalizer
from surform.robotics.policy import Policy
from tests.data.demonstration_files import write_demonstrations
from tests.robotics.policies import NETS, data, fitted, net


class Upwards(nn.Module):
    """Counts its steps; moves as far as it has counted."""

    def start(self, batch):
        return torch.zeros(batch, 1, 2)

    def act(self, observation, memory):
        return observation["pull"][:, None] + memory, memory + 1


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    return write_demonstrations(tmp_path_factory.mktemp("demos") / "demos.h5", camera=32, steps=5)


def simple():
    model = Policy(Upwards())
    model.action.fit(torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0]))
    return model


def test_actions_come_in_the_units_of_the_robot():
    model = simple()
    memory, seen = model.start(1), {"pull": torch.tensor([[0.5, 0.5]])}
    first, memory = model.act(seen, memory)
    second, memory = model.act(seen, memory)
    assert first.tolist() == [[[6.0, 12.0]]]
    assert second.tolist() == [[[16.0, 32.0]]]


def steps(demos, numbers=(6, 7), told=True):
    """What an environment would have given in two episodes, step by step."""
    source = open_demonstrations(str(demos))
    for step in range(min(source.episodes[n].steps for n in numbers)):
        seen = {
            name: np.stack([source.read(n, name, step, step + 1)[0] for n in numbers])
            for name in source.about.columns
        }
        yield seen | ({"instruction": [source.episodes[n].told for n in numbers]} if told else {})


@pytest.mark.parametrize("name", NETS)
def test_acting_step_by_step_is_what_windows_say(name, demos):
    loaded = data(name, demos)
    policy, samples = fitted(name, loaded), loaded.samples("validation")
    memory, first = policy.start(2), 0
    second = open_demonstrations(str(demos)).episodes[6].steps
    for step, seen in enumerate(steps(demos)):
        torch.manual_seed(5)
        actions, memory = policy.act(seen, memory)
        torch.manual_seed(5)
        windows = policy.outputs(samples[[first + step, second + step]])
        torch.testing.assert_close(actions, windows, rtol=1e-4, atol=1e-5)
    assert step > 8


@pytest.mark.parametrize("name", NETS)
def test_steps_that_are_only_observed_are_remembered(name, demos):
    policy = fitted(name, data(name, demos))
    acting = watching = policy.start(2)
    for number, seen in enumerate(steps(demos)):
        torch.manual_seed(5)
        actions, acting = policy.act(seen, acting)
        if number < 4:
            watching = policy.observe(seen, watching)
            continue
        torch.manual_seed(5)
        again, _ = policy.act(seen, watching)
        torch.testing.assert_close(actions, again)
        return


@pytest.mark.parametrize("name", ["bc_mlp", "hpt", "dit"])
def test_a_saved_policy_acts_alike(name, demos, tmp_path):
    policy = fitted(name, data(name, demos))
    policy.save_pretrained(tmp_path / "policy")
    again = surform.load_model(tmp_path / "policy")
    assert again.description == policy.description
    seen = next(steps(demos))
    answers = []
    for model in (policy, again):
        torch.manual_seed(0)
        answers.append(model.act(seen, model.start(2))[0])
    assert torch.equal(*answers)


def test_predictions_of_all_steps_are_written(demos, tmp_path):
    import h5py

    policy = fitted("bc_mlp", data("bc_mlp", demos))
    out = policy.predict_file(str(demos), tmp_path / "predicted.h5", batch_size=7)
    samples = data("bc_mlp", demos, split={"train": 1.0}).samples("train")
    with h5py.File(out) as file:
        found = file["data/demo_1/predicted"][:]
        assert found.shape == (6, 4, 2)
        wanted = policy.outputs(samples[range(5, 11)])
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-6)
        off = np.abs(found[:, 0] - file["data/demo_1/actions"][:]).mean()
        assert file["data/demo_1"].attrs["action_l1"] == pytest.approx(off)


def test_images_of_another_size_are_resized(demos):
    policy = fitted("rt1", data("rt1", demos))
    seen = next(steps(demos))
    large = {**seen, "front": np.repeat(np.repeat(seen["front"], 2, 1), 2, 2)}
    a, b = (policy.observed(each)["image"] for each in (seen, large))
    assert a.shape == b.shape == (2, 3, 32, 32)
    assert (a.int() - b.int()).abs().float().mean() < 4


def test_an_instruction_may_be_given_as_its_embedding(demos):
    policy = fitted("bc_mlp", data("bc_mlp", demos))
    seen = next(steps(demos))
    told = np.stack([embed_text(text, 16) for text in seen["instruction"]])
    a, b = (policy.act(each, policy.start(2))[0] for each in (seen, seen | {"instruction": told}))
    assert torch.equal(a, b)


def test_the_limits_of_hpt_are_the_statistics_of_the_data(demos):
    loaded = data("hpt", demos)
    policy, about = fitted("hpt", loaded), loaded.description()
    limits = policy.net.limits["action"]
    torch.testing.assert_close(limits.minimum, torch.tensor(about.statistics["action"]["min"]))
    assert policy.action.mean == 0
    assert policy.action.std == 1
    assert policy.state is None


@pytest.mark.fault
def test_a_policy_without_statistics_does_not_act():
    model = Policy(Upwards())
    with pytest.raises(ValueError, match="no statistics"):
        model.act({"pull": torch.zeros(1, 2)}, model.start(1))
    with pytest.raises(ValueError, match="no statistics"):
        Policy(net("bc_mlp")).act({"state": torch.zeros(1, 4)}, {})


@pytest.mark.fault
def test_statistics_of_something_else():
    model = simple()
    model.action = Normalizer(torch.zeros(3, 2), torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"have shape \(3, 2\)"):
        model.check_statistics()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("bc_mlp", {"goal": None}, "the observation lacks goal; it has front, instruction, pos"),
        ("bc_mlp", {"goal": np.zeros((2, 3))}, r"goal has shape \(2, 3\), but must be \(episodes"),
        ("bc_mlp", {"goal": np.full((2, 2), np.nan)}, "goal of episode 0 is not finite"),
        ("bc_mlp", {"goal": np.zeros((1, 2)), "position": np.zeros((1, 2))}, "numbers of episodes"),
        ("bc_mlp", {"instruction": None}, "the observation lacks instruction"),
        ("bc_mlp", {"instruction": "go left"}, "is one sentence, but must be a list"),
        ("bc_mlp", {"instruction": ["...", "go"]}, "needs a letter or digit"),
        ("bc_mlp", {"instruction": np.zeros((2, 3))}, r"must be sentences or \(episodes, 16\)"),
        ("rt1", {"front": None}, "the observation lacks front"),
        ("rt1", {"front": np.zeros((2, 3, 32, 32), np.uint8)}, r"must be \(episodes, height, wid"),
        ("rt1", {"front": np.zeros((2, 32, 32, 3))}, "images of front are torch.float64, but must"),
    ],
)
def test_observations_that_do_not_fit(name, change, message, demos):
    policy = fitted(name, data(name, demos))
    seen = {k: v for k, v in (next(steps(demos)) | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        policy.act(seen, policy.start(2))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bc_mlp", {"language": None}, "the network takes 'language', but the data give state"),
        ("dit_images", {"cameras": []}, "the network takes 'front', but the data give"),
        ("rt1", {"cameras": []}, "the network takes 'image'"),
        ("bc_mlp", {"chunk": 2}, "the network has chunks of 4 actions, the data 2"),
        ("bc_mlp", {"history": 1}, "sees 2 observations, but data.history is 1"),
        ("bc_mlp", {"observations": []}, "the network takes 'state', but the data give language"),
    ],
)
def test_networks_that_ask_for_what_the_data_do_not_give(name, options, message, demos):
    loaded = data(name, demos, **options)
    with pytest.raises(ValueError, match=message):
        Policy(net(name)).fit_to(loaded.description(), *loaded.normalizers())


@pytest.mark.fault
def test_a_network_of_another_kind(demos):
    loaded = data("bc_mlp", demos)
    with pytest.raises(ValueError, match="Upwards is no network for policies"):
        Policy(Upwards()).fit_to(loaded.description(), *loaded.normalizers())


@pytest.mark.fault
def test_predictions_that_cannot_be_written(demos, tmp_path):
    policy = fitted("bc_mlp", data("bc_mlp", demos))
    with pytest.raises(ValueError, match=r"must end in \.h5"):
        policy.predict_file(str(demos), tmp_path / "out.csv")
    with pytest.raises(ValueError, match="would replace the data"):
        policy.predict_file(str(demos), demos)
    policy.description = None
    with pytest.raises(ValueError, match="does not know what it observes"):
        policy.predict_file(str(demos), tmp_path / "out.h5")
