"""Windows, splits, statistics and instructions of demonstrations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import surform.data.demonstrations_module as module
from surform.data.demonstrations_description import DemonstrationsDescription
from surform.data.demonstrations_module import DemonstrationsData
from surform.data.demonstrations_statistics import measure, normalizer_of
from surform.data.demonstrations_text import embed_text
from tests.data.demonstration_files import steps_of, write_demonstrations

MASKS = {"train": "train", "validation": "valid"}


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    return str(write_demonstrations(tmp_path_factory.mktemp("demos") / "demos.h5", camera=16))


def literal(number, step, history, chunk):
    """The window at a step of an episode, by a loop."""
    one = steps_of(number, 12 + number)
    last = len(one["actions"]) - 1
    state = np.concatenate([one["obs"][name] for name in ("goal", "position")], 1)
    before = [max(step - k, 0) for k in range(history - 1, -1, -1)]
    ahead = [min(step + k, last) for k in range(chunk)]
    return {
        "state": state[before],
        "actions": one["actions"][ahead],
        "past": one["actions"][before[:-1]],
        "mask": [step + k <= last for k in range(chunk)],
        "seen": [step - k >= 0 for k in range(history - 1, -1, -1)],
    }


@pytest.mark.parametrize("cache", ["memory", "files"])
def test_windows_look_back_and_ahead_within_their_episode(demos, cache):
    data = DemonstrationsData(demos, history=3, chunk=4, split=MASKS, cache=cache)
    samples = data.samples("validation")
    assert len(samples) == (12 + 6) + (12 + 7)
    windows = [0, 1, 2, 14, 17, 18, 19, 36]
    batch = samples[windows]
    for place, window in enumerate(windows):
        number, step = (6, window) if window < 18 else (7, window - 18)
        for name, values in literal(number, step, 3, 4).items():
            found = getattr(batch, name)[place].numpy()
            np.testing.assert_allclose(found, np.asarray(values), rtol=1e-6, err_msg=name)
    labels = samples.labels(batch.index)
    assert labels["episode"][-1].endswith("demo_7")
    assert labels["step"] == [0, 1, 2, 14, 17, 0, 1, 18]
    assert labels["told"][0] == "go to the left"


def test_images_come_with_their_steps_in_any_size(demos, tmp_path):
    whole = DemonstrationsData(demos, cameras=["front"], history=2, split=MASKS)
    streamed = DemonstrationsData(demos, cameras=["front"], history=2, split=MASKS, cache="files")
    small = {"image_size": [8, 12], "split": MASKS, "cameras": ["front"]}
    held = DemonstrationsData(demos, **small)
    mapped = DemonstrationsData(demos, **small, cache="files", unpacked=str(tmp_path / "frames"))
    windows = [0, 5, 17, 18]
    a, b = (data.samples("train")[windows].images["front"] for data in (whole, streamed))
    assert a.shape == (4, 2, 16, 16, 3)
    assert a.dtype == torch.uint8
    assert torch.equal(a, b)
    c, d = (data.samples("train")[windows].images["front"] for data in (held, mapped))
    assert c.shape == (4, 1, 8, 12, 3)
    assert torch.equal(c, d)
    assert whole.description().cameras == {"front": [16, 16, 3]}
    assert held.description().cameras == {"front": [8, 12, 3]}
    made = list((tmp_path / "frames").iterdir())
    again = DemonstrationsData(demos, **small, cache="files", unpacked=str(tmp_path / "frames"))
    before = made[0].stat().st_mtime_ns
    again.samples("train")
    assert list((tmp_path / "frames").iterdir()) == made
    assert made[0].stat().st_mtime_ns == before


def test_what_does_not_fit_into_memory_is_read_for_each_window(demos, monkeypatch):
    options = {"cameras": ["front"], "split": MASKS, "history": 2, "chunk": 3}
    whole = DemonstrationsData(demos, **options)
    batch = whole.samples("train")[range(40)]
    sizes = whole.held_bytes()
    monkeypatch.setattr(module, "_MEMORY_LIMIT", 5000)  # room for numbers, not for images
    part = DemonstrationsData(demos, **options)
    assert 0 < part.held_bytes() <= 5000 < sizes
    assert part.samples("train").reads_files
    none = DemonstrationsData(demos, **options, cache="files")
    assert none.held_bytes() == 0
    for data in (part, none):
        found = data.samples("train")[range(40)]
        assert torch.equal(found.images["front"], batch.images["front"])
        assert torch.equal(found.state, batch.state)
        assert torch.equal(found.actions, batch.actions)
        assert data.description().statistics == whole.description().statistics


def test_workers_give_the_same_batches(demos):
    options = {"cameras": ["front"], "batch_size": 16, "cache": "files"}
    batches = [
        list(DemonstrationsData(demos, **options, workers=workers).train_dataloader())
        for workers in (0, 1)
    ]
    assert len(batches[0]) == len(batches[1]) > 2
    for a, b in zip(*batches, strict=True):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.images["front"], b.images["front"])
        assert torch.equal(a.actions, b.actions)


def test_episodes_are_divided_whole_and_every_task_in_its_share(demos):
    data = DemonstrationsData(demos, split={"train": 0.5, "validation": 0.25, "test": 0.25})
    found = {}
    for split in ("train", "validation", "test"):
        samples = data.samples(split)
        labels = samples.labels(torch.arange(len(samples)))
        found[split] = set(labels["episode"])
        assert set(labels["told"]) == {"go to the left", "go to the right"}
    assert [len(own) for own in found.values()] == [4, 2, 2]
    assert len(set().union(*found.values())) == 8
    other = DemonstrationsData(demos, split={"train": 0.5, "validation": 0.5}, split_seed=1)
    labels = other.samples("train").labels(torch.arange(len(other.samples("train"))))
    assert set(labels["episode"]) != found["train"]


def test_statistics_are_those_of_training_episodes_alone(demos):
    data = DemonstrationsData(demos, split=MASKS)
    own = [steps_of(number, 12 + number) for number in range(6)]
    actions = np.concatenate([one["actions"] for one in own]).astype(np.float32)
    found = data.description().statistics["action"]
    np.testing.assert_allclose(found["min"], actions.min(0), rtol=1e-6)
    np.testing.assert_allclose(found["max"], actions.max(0), rtol=1e-6)
    np.testing.assert_allclose(found["mean"], actions.mean(0, dtype=float), atol=1e-6)
    np.testing.assert_allclose(found["std"], actions.std(0, dtype=float), rtol=1e-5)
    state, action = data.normalizers()
    inside = action.normalize(torch.from_numpy(actions))
    assert inside.amin() == pytest.approx(-1, abs=1e-6)
    assert inside.amax() == pytest.approx(1, abs=1e-6)
    assert state.mean.shape == (4,)


def test_scales():
    values = np.array([[0.0, 5.0], [4.0, 5.0], [1.0, 5.0]])
    found = measure([values[:1], values[1:]])
    limits = normalizer_of(found, "limits").normalize(torch.tensor(values))
    assert limits[:, 0].tolist() == [-1.0, 1.0, -0.5]
    assert limits[:, 1].tolist() == [0.0, 0.0, 0.0]  # never varied: only moved
    gaussian = normalizer_of(found, "gaussian").normalize(torch.tensor(values))
    assert gaussian[:, 0].std(correction=0) == pytest.approx(1)
    none = normalizer_of(found, "none").normalize(torch.tensor(values))
    assert torch.equal(none, torch.tensor(values))


def test_given_limits_take_the_place_of_those_found(demos):
    data = DemonstrationsData(demos, action_limits=[[-2, 2], [-4, 4]])
    about = data.description()
    assert about.action_limits == [[-2, 2], [-4, 4]]
    _, action = data.normalizers()
    assert action.std.tolist() == [2, 4]
    assert DemonstrationsData(demos, action_limits=[-3, 3]).normalizers()[1].std.tolist() == [3, 3]


def test_instructions_are_vectors_that_tell_tasks_apart(demos):
    data = DemonstrationsData(demos, language="text", language_dim=32, split=MASKS)
    batch = data.samples("train")[[0, 12]]  # one window of each of the first two episodes
    assert torch.equal(batch.language[0], torch.tensor(embed_text("go to the left", 32)))
    assert torch.equal(batch.language[1], torch.tensor(embed_text("go to the right", 32)))
    about = data.description()
    assert about.tasks == ("go to the left", "go to the right")
    assert about.language_dim == 32


def test_embeddings_of_text():
    red, again, blue = map(embed_text, ("go to the red disc", "Go to the RED disc.", "blue disc"))
    assert np.array_equal(red, again)
    assert np.linalg.norm(red) == pytest.approx(1, abs=1e-6)
    near, far = red @ embed_text("go to the green disc"), red @ embed_text("close the window")
    assert 0.5 < near < 0.99
    assert far < near - 0.3
    assert red @ blue < 0.9
    # the same on every machine and in every version: saved policies rely on it
    found = embed_text("push", 16)
    assert np.flatnonzero(found).tolist() == [5, 6, 8, 10, 12, 13]
    assert np.sign(found[[5, 6, 8, 10, 12, 13]]).tolist() == [1, 1, -1, -1, 1, 1]
    assert found[13] == pytest.approx(2 / 3)


def test_an_observation_can_be_the_embedding(demos):
    data = DemonstrationsData(demos, language="goal", observations=["position"], split=MASKS)
    batch = data.samples("train")[[0]]
    np.testing.assert_allclose(batch.language[0], steps_of(0, 12)["obs"]["goal"][0], rtol=1e-6)
    assert data.description().observations == {"position": 2}
    assert data.description().language_dim == 2


def test_tasks_can_be_chosen(demos):
    data = DemonstrationsData(demos, tasks=["go-left"])
    assert data.description().tasks == ("go to the left",)
    with pytest.raises(ValueError, match="has no task 'go-up': did you mean"):
        DemonstrationsData(demos, tasks=["go-up"]).samples("train")


def test_several_files_are_one_data_set(demos, tmp_path):
    other = str(write_demonstrations(tmp_path / "more.h5", episodes=4, seed=1, camera=16))
    data = DemonstrationsData([demos, other], split={"train": 1.0})
    assert len(data.samples("train")) == sum(range(12, 20)) + sum(range(12, 16))
    apart = DemonstrationsData({"train": demos, "test": other})
    assert len(apart.samples("test")) == sum(range(12, 16))
    assert apart.description().source["episodes"] == "8 train, 4 test"
    masked = DemonstrationsData([demos, other], split=MASKS)
    assert masked.description().source["episodes"] == "8 train, 4 validation"


def test_a_description_survives_being_saved(demos):
    about = DemonstrationsData(demos, language="text", history=2, chunk=3).description()
    again = DemonstrationsDescription.from_dict(about.to_dict())
    assert again == about
    assert again.sizes() == {
        "action_dim": 2, "chunk": 3, "state_dim": 4, "language_dim": 64,
        "instruction_dim": 64,
    }  # fmt: skip
    assert about.fps == 10
    assert about.environment["env_name"] == "Point-v0"
