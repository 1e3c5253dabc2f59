"""The matrix of what is proved of each model."""

from __future__ import annotations

import re

import pytest
import torch

from benchmarks.matrix.__main__ import BEGIN, END, ROOT, between, fails
from benchmarks.matrix.example_calls import EXAMPLES, example_call
from benchmarks.matrix.recorded_calls import callable_models, cases_of_models, first_call
from benchmarks.matrix.rows import QUICK, reaches, rows
from benchmarks.matrix.slow import bf16, cell, compiled, exported
from surform.registry import names


def test_no_cell_is_empty_and_no_golden_model_is_left_out() -> None:
    found = rows(replay=False)
    listed = [row["model"] for row in found]
    assert set(cases_of_models()) <= set(listed) <= set(names("models"))
    assert set(listed) <= set(callable_models())
    assert len(listed) == len(set(listed))
    for row in found:
        assert all(row[column].strip() for column in (*QUICK, "against literal", "against peer"))
        assert row["against literal"] != "not measured", row["model"]
        assert row["against peer"] != "no peer measured", row["model"]


def test_a_recorded_call_is_put_through_each_check() -> None:
    paths = cases_of_models()["galerkin1d"]
    call = first_call("galerkin1d", paths)
    assert call is not None
    assert len(call.run()) >= 1
    assert cell(bf16, "galerkin1d", paths).startswith("yes")
    assert cell(compiled, "galerkin1d", paths) == "yes"
    assert cell(exported, "galerkin1d", paths) == "yes"


def test_choices_that_rounding_changes_are_told_from_errors() -> None:
    said = cell(bf16, "informer_stack", cases_of_models()["informer_stack"])
    found = re.fullmatch(r"error (\S+): rounding changes .* with the same, (\S+)", said)
    assert found is not None, said
    assert float(found[1]) > 0.05 > float(found[2])


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_each_call_of_our_own_is_the_same_every_time(name: str) -> None:
    first, second = example_call(name).run(), example_call(name).run()
    assert [x.shape for x in first] == [x.shape for x in second]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(x.requires_grad and x.std() > 0 for x in first)  # a constant would prove nothing


def test_a_check_that_raises_is_a_reason_and_not_a_crash() -> None:
    def broken(call: object) -> str:
        raise RuntimeError(f"no such kernel\nfor {type(call).__name__} (at all). Try others.")

    paths = cases_of_models()["galerkin1d"]
    assert cell(broken, "galerkin1d", paths) == "RuntimeError: no such kernel for Call"


def test_what_a_recipe_reaches_is_its_first_sentence() -> None:
    text = "# Reaches: AUC 0.87 (one seed) on test rows, after 9 minutes. More\n#          of it.\n"
    assert reaches(text) == "AUC 0.87 on test rows"
    assert reaches("x: 1") == ""


def test_a_case_that_fails_is_seen() -> None:
    assert fails("6 of 7")
    assert not fails("7 of 7")
    assert not fails("no official code")


def test_the_pages_have_a_place_for_it() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "matrix.md"):
        text = page.read_text(encoding="utf-8")
        written = between(text, "| new |\n")
        assert written.count("| new |") == 1
        assert written.partition(BEGIN)[0] == text.partition(BEGIN)[0]
        assert written.partition(END)[2] == text.partition(END)[2]
