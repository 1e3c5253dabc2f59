from __future__ import annotations

from pathlib import Path

import pytest
import torch

from surform.hub import load_model
from surform.hub.convert import from_official
from surform.hub.official.accounting import KeyMismatch, account
from surform.hub.official.fixture import Fixture

GOLDEN = Path(__file__).parents[1] / "golden" / "galerkin" / "burgers_galerkin_ifft.json"


@pytest.fixture
def fixture():
    return Fixture.load(GOLDEN)


@pytest.fixture
def official(fixture, tmp_path):
    """The golden case's parameters as the official code would save them."""

    def save(**changes):
        state = {**fixture.parameters(torch.float64), **changes}
        state = {name: value for name, value in state.items() if value is not None}
        torch.save({"model": state}, tmp_path / "official.pt")
        return tmp_path / "official.pt"

    return save


def test_a_converted_checkpoint_gives_the_official_numbers(fixture, official, tmp_path):
    made = from_official(official(), "galerkin", fixture.constructor)
    assert made.accounting.complete
    assert set(made.accounting.used) == set(fixture.named("param"))
    model = load_model(made.model.save_pretrained(tmp_path / "out"))
    inputs = fixture.inputs(torch.float64)
    coordinates = (inputs["pos"][0, :, 0],)
    torch.testing.assert_close(
        model(inputs["node"], coordinates), fixture.tensors["out/preds"], rtol=1e-9, atol=1e-11
    )


def test_load_model_reads_official_checkpoints(fixture, official):
    model = load_model(official(), system="galerkin", constructor=fixture.constructor)
    assert not model.training
    assert "no normalisation statistics" in model.card["limits"]


@pytest.mark.fault
def test_a_missing_key_is_named(fixture, official):
    key = "feat_extract.id.weight"
    with pytest.raises(KeyMismatch, match=rf"1 missing: {key}") as error:
        from_official(official(**{key: None}), "galerkin", fixture.constructor)
    assert error.value.accounting.missing == (key,)


@pytest.mark.fault
def test_an_unknown_key_is_named(fixture, official):
    with pytest.raises(KeyMismatch, match=r"1 unknown: extra\.weight"):
        from_official(official(**{"extra.weight": torch.ones(2)}), "galerkin", fixture.constructor)


@pytest.mark.fault
def test_a_wrong_shape_is_named(fixture, official):
    with pytest.raises(
        KeyMismatch, match=r"feat_extract\.id\.weight \(3, 1\) instead of \(12, 1\)"
    ):
        from_official(
            official(**{"feat_extract.id.weight": torch.ones(3, 1)}),
            "galerkin",
            fixture.constructor,
        )


@pytest.mark.fault
def test_misspelt_system(official):
    with pytest.raises(ValueError, match=r"unknown official system 'galerkn'.*galerkin"):
        load_model(official(), system="galerkn")


@pytest.mark.fault
def test_unknown_kind(fixture, official):
    with pytest.raises(ValueError, match="galerkin has no kind 'burger': choose burgers1d"):
        from_official(official(), "galerkin", fixture.constructor, kind="burger")


def test_labelled_arrays_are_refused_without_a_description(fixture, official):
    import xarray as xr

    model = load_model(official(), system="galerkin", constructor=fixture.constructor)
    with pytest.raises(ValueError, match="no description of its data"):
        model.predict(xr.Dataset())


def test_dropped_keys_carry_their_reason():
    needed = {"w": torch.ones(2)}
    state = {"w": torch.zeros(2), "net.inv_freq": torch.ones(1), "step": torch.ones(1)}
    found = account(state, needed, {"*.inv_freq": "a constant", "absent.*": "never there"})
    assert found.used == ("w",)
    assert found.dropped == {"net.inv_freq": "a constant"}
    assert found.unknown == ("step",)
    assert not found.complete


def test_counts_of_batches_may_be_missing_as_in_old_files():
    norm = torch.nn.BatchNorm1d(2)
    old = {k: v for k, v in norm.state_dict().items() if k != "num_batches_tracked"}
    needed = {f"norm.{k}": v for k, v in norm.state_dict().items()}
    assert account({f"norm.{k}": v for k, v in old.items()}, needed, {}).complete
    norm.load_state_dict(old)
    found = account({"norm.weight": torch.ones(2)}, needed, {})
    assert found.missing == ("norm.bias", "norm.running_mean", "norm.running_var")
