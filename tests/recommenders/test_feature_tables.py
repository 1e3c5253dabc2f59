"""Tables in three precisions: what is looked up, what training and casting leave, rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from surform import create_model, load_model
from surform.recommenders.feature_tables import FeatureTables, TableDtype
from surform.recommenders.ranker import Ranker
from tests.recommenders.networks import SMALL, inputs

NETS: dict[str, dict[str, Any]] = {
    "hiformer": {"dense_tokens": 2, "deep": (4,)},
    "autoint": {"dense_tokens": 2},
    "dcn_v2": {"dense_tokens": 2},
    "dlrm": {},
}
FEATURES = {
    name: SMALL[name] for name in ("vocab_sizes", "multi_vocab_sizes", "dense_features", "tasks")
}


def tables(dtype: TableDtype) -> tuple[FeatureTables, Tensor]:
    """Tables, and the rows that they hold as nearly as they can."""
    torch.manual_seed(0)
    rows = torch.randn(18, 40) * torch.logspace(-6, 3, 18)[:, None]
    rows[7] = 0
    made = FeatureTables((5, 3), (4, 6), dim=40, table_dtype=dtype)
    made.write(0, rows[:5])
    made.write(5, rows[5:])
    return made, rows


@pytest.mark.parametrize(
    ("dtype", "error"), [("float32", 0), ("bfloat16", 2**-8), ("int8", 1 / 254)]
)
def test_rows_are_kept_as_nearly_as_the_precision_lets_them(dtype, error: float) -> None:
    made, rows = tables(dtype)
    found = made.looked_up(torch.arange(18))
    assert found.dtype == torch.float32
    assert ((found - rows).abs() <= 1.001 * error * rows.abs().amax(1, keepdim=True)).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_sums_and_means_are_those_of_the_rows_looked_up(dtype) -> None:
    made, _ = tables(dtype)
    given = inputs(9)
    ids, values, lengths = (given[name] for name in ("categorical", "values", "lengths"))
    rows = made.looked_up(torch.arange(18))
    expected = rows[ids[:, 0]] + rows[5 + ids[:, 1]]
    assert torch.allclose(made.sums(ids), expected, rtol=1e-6)
    single, means = made.parts(ids, values, lengths)
    assert torch.equal(single[:, 1], rows[5 + ids[:, 1]])
    bags = iter(values.split(lengths.flatten().tolist()))
    for sample in range(9):
        for feature, first in enumerate((8, 12)):
            bag = next(bags)
            literal = rows[first + bag].mean(0) if len(bag) else torch.zeros(40)
            assert torch.allclose(means[sample, feature], literal, rtol=1e-5)


def test_large_batches_are_summed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = tables("int8")
    ids = torch.stack([torch.randint(size, (50,)) for size in (5, 3)], 1)
    whole = made.sums(ids)
    monkeypatch.setattr("surform.recommenders.feature_tables._BLOCK", 300)
    assert torch.equal(made.sums(ids), whole)
    assert made.sums(ids[:0]).shape == (0, 40)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_networks_train_tables_in_bfloat16(name: str, sparse: bool) -> None:
    net = create_model(name, **FEATURES, **NETS[name], sparse_tables=sparse, table_dtype="bfloat16")
    plain, given = create_model(name, **FEATURES, **NETS[name]), inputs(dtype=torch.float32)
    plain.load_state_dict(net.state_dict())
    for each in (net, plain):
        each(**given).square().sum().backward()
    table = net.features.table
    assert table.dtype == table.grad.dtype == torch.bfloat16
    assert torch.equal(net(**given), plain(**given))
    dense = table.grad.to_dense() if sparse else table.grad
    expected = plain.features.table.grad
    assert (dense.float() - expected).abs().max() < 0.02 * expected.abs().max()


def test_casting_leaves_tables_in_bfloat16() -> None:
    net = create_model("hiformer", **SMALL, table_dtype="bfloat16")
    before, given = net.features.table.clone(), inputs()
    assert net.double()(**given).dtype == torch.float64
    assert torch.equal(net.features.table, before)
    assert net.to(torch.bfloat16)(**given).dtype == torch.bfloat16
    assert net.float()(**given).dtype == torch.float32


def test_a_saved_ranker_keeps_its_tables_in_bfloat16(tmp_path) -> None:
    model = Ranker(create_model("hiformer", vocab_sizes=(5, 3), table_dtype="bfloat16")).eval()
    model.save_pretrained(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.net.features.table.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert again.net.task_tokens.dtype == torch.float32
    ids = torch.tensor([[4, 2], [0, 0]])
    assert torch.equal(again(ids), model(ids))


@pytest.mark.fault
def test_precisions_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="table_dtype is 'int8', but must be one of"):
        create_model("autoint", vocab_sizes=(3,), table_dtype="int8")
    with pytest.raises(ValueError, match="table_dtype is 'int4', but must be one of"):
        FeatureTables((3,), dim=2, table_dtype="int4")  # type: ignore[arg-type]
