"""Efficient kinds of attention: official numbers, and what the replays refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from surform.hub.official.fixture import Fixture
from surform.hub.verify import find_cases, verify_case
from surform.registry import create_model, find

GOLDEN = Path(__file__).parents[1] / "golden" / "attention_kinds"
CASES = find_cases([GOLDEN])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_official_numbers(case: Path, dtype: torch.dtype):
    report = verify_case(Fixture.load(case), dtype)
    assert report.passed, report.problem or report.worst


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_changed_number_is_noticed(case: Path):
    fixture = Fixture.load(case)
    tensors = dict(fixture.tensors)
    name = next(key for key in tensors if key.startswith("out/") and "buckets" not in key)
    tensors[name] = tensors[name] * 1.001
    assert not verify_case(replace(fixture, tensors=tensors)).passed


def test_the_encoder_goes_to_official_names_and_back():
    system = find("official", "attention_kinds")
    fixture = Fixture.load(GOLDEN / "fastformer_encoder.json")
    name, arguments = system.arguments(fixture.constructor)
    net = create_model(name, **arguments)
    official = system.to_official(net.state_dict(), fixture.constructor)
    assert {key: x.shape for key, x in official.items()} == {
        key: x.shape for key, x in fixture.named("param").items()
    }
    back = system.to_ours(official, fixture.constructor)
    assert all(torch.equal(back[key], value) for key, value in net.state_dict().items())


def test_large_scores_of_the_pooling_do_not_overflow():
    net = create_model("fastformer", length=4, dim=4, depth=0, heads=1, mlp_ratio=1.0)
    with torch.no_grad():
        net.pool.score.bias.fill_(1e4)
    assert net.eval()(torch.randn(2, 3, 4)).isfinite().all()


@pytest.mark.fault
def test_what_cannot_be_replayed_is_said():
    kernel = Fixture.load(GOLDEN / "learned_kernel_gmm_prf.json")
    report = verify_case(replace(kernel, options={"features": "orf"}))
    assert "features is 'orf', but must be rks or prf" in report.problem
    tensors = {key: x for key, x in kernel.tensors.items() if key != "param/omega"}
    assert "lacks param/omega" in verify_case(replace(kernel, tensors=tensors)).problem
    encoder = Fixture.load(GOLDEN / "fastformer_encoder.json")
    given = encoder.constructor | {"pooler_type": "mean"}
    assert "pooler_type is 'mean'" in verify_case(replace(encoder, constructor=given)).problem
    with pytest.raises(ValueError, match="has no kind 'performer'; known kinds: delta_rule"):
        verify_case(replace(kernel, kind="performer"))
    with pytest.raises(ValueError, match="delta_rule is a kind of attention, not a model"):
        find("official", "attention_kinds").arguments({}, kind="delta_rule")
    with pytest.raises(ValueError, match="Fastformer takes"):
        create_model("fastformer", length=4, dim=4, heads=1)(torch.zeros(1, 5, 4))
