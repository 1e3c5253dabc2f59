"""What `--search` understands, and what it refuses."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from surform.cli.fit_config import parse_value
from surform.cli.tune_space import Choices, Range, parse_space, word


def test_ranges_and_choices() -> None:
    space = parse_space(["a.lr=log:1e-4:1e-2", "a.p=0:0.4", "a.n=2:8", "a.k=[16, null, [1, 2]]"])
    assert space["a.lr"] == Range("a.lr", "log:1e-4:1e-2", 1e-4, 1e-2, log=True)
    assert space["a.p"] == Range("a.p", "0:0.4", 0.0, 0.4)
    assert not space["a.p"].whole  # type: ignore[union-attr]
    assert space["a.n"].whole  # type: ignore[union-attr]
    assert space["a.k"] == Choices("a.k", "[16, null, [1, 2]]", (16, None, [1, 2]))


def test_a_file_says_the_same_as_words(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "model:\n  optimizer: {lr: log:1e-4:1e-2}\n  net:\n    dim:\n    - 16\n    - 32\n"
        "data.batch_size: 1:30\n"  # no time of day
    )
    words = ["model.optimizer.lr=log:1e-4:1e-2", "model.net.dim=[16, 32]", "data.batch_size=1:30"]
    assert parse_space([str(file)]) == parse_space(words)


def test_later_words_win(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("a.b: 1:2")
    assert parse_space([str(tmp_path / "s.yaml"), "a.b=3:4"])["a.b"].ends() == [3, 4]


def test_the_size_of_a_space_and_what_it_holds() -> None:
    space = parse_space(["n=2:4", "x=2:4.5", "c=[a, 1]"])
    assert [space[key].size() for key in "nxc"] == [3, float("inf"), 2]
    assert [space["n"].holds(value) for value in (2, 4, 5, 2.5, True, None, "a")] == [
        *(True, True, False, False, False, False, False)
    ]
    assert space["x"].holds(4.25)
    assert space["x"].holds(3)
    assert space["c"].holds("a")
    dice = random.Random(0)
    assert {space["n"].draw(dice) for _ in range(50)} == {2, 3, 4}
    assert {space["c"].draw(dice) for _ in range(50)} == {"a", 1}


@pytest.mark.parametrize("value", [3, 1e-05, 0.1 + 0.2, True, None, "adamw", "1e-3", [0.9, 0.99]])
def test_values_survive_the_command_line(value: object) -> None:
    key, _, text = word("a.b", value).partition("=")
    assert key == "--a.b"
    assert parse_value(text) == value


@pytest.mark.fault
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.b", "--search a.b: neither NAME=VALUES, such as"),
        ("a.b=5", "--search a.b=5: write LOW:HIGH, log:LOW:HIGH or [A, B, ...]"),
        ("a.b=lin:1:2", "write LOW:HIGH"),
        ("a.b=1:2:3:4", "write LOW:HIGH"),
        ("a.b=1:x", "'x' is no number"),
        ("a.b=1:inf", "'inf' is no number"),
        ("a.b=2:2", "the range is empty, 2 is not below 2"),
        ("a.b=0.3:1e-2", "the range is empty, 0.3 is not below 1e-2"),
        ("a.b=log:0:1", "a range by orders of magnitude begins above 0"),
        ("a.b=[16]", "there is nothing to choose"),
        ("a.b=[]", "there is nothing to choose"),
        ("a.b=[16,32,16]", "16 is named twice"),
        ("seed_everything=1:5", "trials with another seed_everything could not be compared"),
        ("data.split.train=0.1:0.9", "trials with another data.split could not be compared"),
        ("model.monitor=[mse,mae]", "trials with another model.monitor could not be compared"),
    ],
)
def test_spaces_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_space([text])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.fault
def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        parse_space(["none.yaml"])
    (tmp_path / "s.yaml").write_text("a.b: 5")
    with pytest.raises(ValueError, match=r"--search a\.b=5: write LOW:HIGH"):
        parse_space([str(tmp_path / "s.yaml")])
    (tmp_path / "s.yaml").write_text("a.b: 1:2\na.b: 3:4")
    with pytest.raises(ValueError, match="given twice"):
        parse_space([str(tmp_path / "s.yaml")])
