"""Rankers in the shared loop: they learn; missing labels, tables apart, resuming, the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import AdamW

import surform
from surform.data.interactions_module import InteractionsData
from surform.recommenders.ranker import Ranker
from surform.recommenders.ranking_scores import auc, log_loss
from surform.recommenders.ranking_task import RankingTask, embedding_tables
from surform.recommenders.truth import attainable
from surform.registry import create_model
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.logger import MetricsLogger
from surform.training.resume import ExactResume
from surform.training.rowwise_adagrad import RowwiseAdagrad
from surform.training.run_folder import RunFolder
from surform.training.tables_apart import TablesApart
from tests.recommenders.click_files import two_labels, write
from tests.training.test_resume import Kill, Killed, differences
from tests.training.toy import trainer

ROLES = {
    "labels": ["click"], "categorical": ["user", "item"], "multivalued": ["tags"],
    "dense": ["price"], "transforms": "log", "group": "user",
}  # fmt: skip
NET = {"dim": 8, "heads": 2, "dense_tokens": 1, "embedding_std": 0.2}


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


def data(path: Path, rows: int = 600, **given: Any) -> InteractionsData:
    file = path / "log.parquet"
    if not file.is_file():
        write(file, two_labels(rows))
    return InteractionsData(str(file), **ROLES | {"batch_size": 64} | given)


def task(source: InteractionsData, name: str = "hiformer", **given: Any) -> RankingTask:
    torch.manual_seed(0)
    sizes = dict(source.description().sizes())
    sizes = {n: v if isinstance(v, int | list) else len(v) for n, v in sizes.items()}
    net = {n: tuple(v) if isinstance(v, list) else v for n, v in sizes.items()}
    own = NET if name == "hiformer" else {}
    extra = given.pop("net", {})
    options = {"optimizer": lambda params: AdamW(params, lr=1e-2)} | given
    return RankingTask(create_model(name, **net | own | extra), **options)


def fit(place: Path, module: RankingTask, source: InteractionsData, **options: Any) -> Any:
    run = trainer(place, **({"max_epochs": 1} | options))
    run.fit(module, source)
    return run


def figures(run: Any, stage: str = "validation") -> dict[str, float]:
    return {k.split("/")[1]: float(v) for k, v in run.callback_metrics.items() if stage in k}


def apart(params: Any) -> TablesApart:
    return TablesApart(params, lambda p: AdamW(p, lr=1e-2), lambda p: RowwiseAdagrad(p, lr=0.1))


def test_a_ranker_learns_and_its_figures_are_those_of_the_whole_split(tmp_path: Path) -> None:
    source = data(tmp_path, 3000, eval_batch_size=37)
    module = task(
        source,
        metrics=["auc", "log_loss", "group_auc", "ndcg", "recall", "calibration"],
        truth="chance",
    )
    found = figures(fit(tmp_path, module, source, max_epochs=5))
    assert found["auc"] > 0.75
    rows = source.samples("validation")[list(range(300))]
    chances = module.surrogate.eval().outputs(rows)[:, 0].detach().numpy()
    label = rows.labels[:, 0].numpy()
    assert found["auc"] == pytest.approx(auc(label, chances), abs=1e-6)
    assert found["log_loss"] == pytest.approx(log_loss(label, chances), abs=1e-5)
    assert {"group_auc", "ndcg", "recall", "calibration", "loss"} <= set(found)
    truth = two_labels(3000)["chance"][source.split_rows()["validation"]]
    assert found["bayes_auc"] == pytest.approx(auc(label, truth), abs=1e-6)
    share = (found["auc"] - 0.5) / (found["bayes_auc"] - 0.5)
    assert found["attained"] == pytest.approx(share, abs=1e-5)


def test_labels_that_are_unknown_teach_nothing_and_do_not_count(tmp_path: Path) -> None:
    source = data(tmp_path, labels=["click", "bought"])
    module = task(source, metrics=["auc", "log_loss"], monitor="log_loss")
    module.surrogate.fit_to(source.description(), *source.normalizers())
    batch = source.samples("train")[list(range(64))]
    known = ~batch.labels[:, 1].isnan()
    assert 0 < known.sum() < 64
    _, loss = module.training_loss(batch)
    each = torch.nn.functional.binary_cross_entropy_with_logits
    logits = module.surrogate(**batch.inputs())
    expected = each(logits[:, 0], batch.labels[:, 0])
    expected = expected + each(logits[known, 1], batch.labels[known, 1])
    torch.testing.assert_close(loss, expected)
    found = figures(fit(tmp_path, module, source))
    rows = source.samples("validation")[list(range(60))]
    chances = module.surrogate.eval().outputs(rows).detach().numpy()
    told = rows.labels.numpy()
    seen = ~np.isnan(told[:, 1])
    both = [log_loss(told[:, 0], chances[:, 0]), log_loss(told[seen, 1], chances[seen, 1])]
    assert found["log_loss"] == pytest.approx(np.mean(both), abs=1e-5)


@pytest.mark.parametrize("name", ["autoint", "dcn_v2", "dlrm", "logistic_regression"])
def test_every_network_trains(tmp_path: Path, name: str) -> None:
    source = data(tmp_path)
    own = {"autoint": {"dense_tokens": 1}, "dcn_v2": {"dense_tokens": 1}}.get(name, {})
    run = fit(tmp_path, task(source, name, net=own), source)
    assert 0 < figures(run)["log_loss"] < 1.5


def test_tables_are_apart_from_other_weights(tmp_path: Path) -> None:
    module = task(data(tmp_path), table_decay=0.25)
    tables = [group for group in module.trained() if group.get("table")]
    assert len(tables) == 1
    assert tables[0]["weight_decay"] == 0.25
    assert tables[0]["params"] == embedding_tables(module.surrogate.net)
    counted = sum(len(group["params"]) for group in module.trained())
    assert counted == len(list(module.parameters()))


def test_resuming_with_sparse_tables_continues_bit_for_bit(tmp_path: Path) -> None:
    def run(place: str, *more: Any, resume: bool = False) -> Any:
        source = data(tmp_path)
        keeper = Checkpoints(tmp_path / place, every_n_steps=1)
        ready = trainer(tmp_path, max_epochs=2, callbacks=[keeper, ExactResume(), *more],
                        enable_checkpointing=True)  # fmt: skip
        path = tmp_path / place / "last.ckpt" if resume else None
        module = task(source, net={"sparse_tables": True}, optimizer=apart)
        ready.fit(module, source, ckpt_path=path, weights_only=True)

    run("whole")
    with pytest.raises(Killed):
        run("cut", Kill(9))
    run("cut", resume=True)
    whole, cut = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "cut"))
    assert whole["global_step"] == 14
    assert differences(whole["state_dict"], cut["state_dict"]) == []
    assert differences(whole["optimizer_states"], cut["optimizer_states"]) == []


def test_the_run_leaves_a_ranker_and_a_report(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    source = data(tmp_path)
    run = trainer(tmp_path, max_epochs=1, callbacks=[RunFolder(folder), Checkpoints()],
                  logger=MetricsLogger(), enable_checkpointing=True)  # fmt: skip
    run.fit(task(source), source)
    page = (folder / "report.html").read_text(encoding="utf-8")
    for said in ("logistic regression", "popularity of", "Calibration", "Attention of the last"):
        assert said in page
    model = surform.load_model(folder / "model")
    assert isinstance(model, Ranker)
    rows = {name: values[:4] for name, values in two_labels().items()}
    assert model.score(rows).shape == (4, 1)


def test_rows_that_stay_in_files_have_a_report_too(tmp_path: Path) -> None:
    source = data(tmp_path, cache="files")
    run = trainer(tmp_path, max_steps=1, callbacks=[RunFolder(tmp_path / "run"), Checkpoints()],
                  logger=MetricsLogger(), enable_checkpointing=True)  # fmt: skip
    run.fit(task(source), source)
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "Calibration" in page
    assert "Attention of the last" in page


def test_what_is_attained_counts_rows_of_known_label_and_true_differences() -> None:
    labels, chances = np.array([0, 1, np.nan, 1, 0]), np.array([0.2, 0.4, 0.9, 0.7, 0.5])
    found = attainable(labels, chances, 0.6)
    known = [0, 1, 3, 4]
    assert found["bayes_auc"] == pytest.approx(auc(labels[known], chances[known]))
    assert found["attained"] == pytest.approx(0.1 / (found["bayes_auc"] - 0.5))
    assert np.isnan(attainable(labels, np.full(5, 0.5), 0.6)["attained"])


@pytest.mark.fault
@pytest.mark.parametrize(
    ("given", "roles", "said"),
    [
        ({"metrics": ["ndcg"], "monitor": "ndcg"}, {"group": None}, "is a figure by group"),
        ({"truth": "price"}, {}, "price tells the model the true probabilities"),
        ({"truth": "chanse"}, {}, "no column 'chanse'"),
        ({"truth": "item"}, {"categorical": ["user"]}, "holds other values than probabilities"),
        ({"truth": "user"}, {"categorical": ["item"]}, "'user' of .* holds text, not numbers"),
        ({"net": {"sparse_tables": True}}, {}, "which AdamW does not take"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_one_sentence(
    tmp_path: Path, given: dict[str, Any], roles: dict[str, Any], said: str
) -> None:
    source = data(tmp_path, **roles)
    with pytest.raises(ValueError, match=said):
        fit(tmp_path, task(source, **given), source)


@pytest.mark.fault
def test_wrong_options_are_refused(tmp_path: Path) -> None:
    source = data(tmp_path)
    for given, said in (
        ({"k": 0}, "k is 0"),
        ({"table_decay": -1.0}, "table_decay is -1.0, but must not be negative"),
        ({"metrics": ["auk"], "monitor": "auk"}, "unknown metric 'auk'"),
        ({"monitor": "ndcg"}, "monitor 'ndcg' is not among the metrics"),
    ):
        with pytest.raises(ValueError, match=said):
            task(source, **given)
    module = task(source)
    module.surrogate.fit_to(source.description(), *source.normalizers())
    other = data(tmp_path, labels=["click", "bought"])
    with pytest.raises(ValueError, match="the network has 1 tasks, the rows 2 labels"):
        module.predict_batch(other.samples("train")[[0, 1]])


def test_rows_that_stay_in_files_train_and_score_as_rows_in_memory_do(tmp_path: Path) -> None:
    streamed, held = (data(tmp_path, cache=cache) for cache in ("files", "memory"))
    module = task(streamed, metrics=["auc", "log_loss"])
    found = figures(fit(tmp_path, module, streamed))
    rows = held.samples("validation")[list(range(60))]
    chances = module.surrogate.eval().outputs(rows)[:, 0].detach().numpy()
    assert found["auc"] == pytest.approx(auc(rows.labels[:, 0].numpy(), chances), abs=1e-6)
    ordered = torch.cat([batch.categorical for batch in streamed.in_order("validation", 7)])
    assert torch.equal(ordered, rows.categorical)


def saved(place: Path) -> tuple[Ranker, InteractionsData]:
    """A ranker of the log as it lies on disk, and another log: other users are the frequent ones,
    and prices are ten times as high.
    """
    source = data(place)
    module = task(source, optimizer=lambda params: AdamW(params, lr=3e-2))
    fit(place, module, source, max_epochs=3)
    module.surrogate.save_pretrained(place / "model")
    other = two_labels(400, seed=5)
    other["user"] = [f"u{25 - int(user[1:])}" for user in other["user"]]
    other["price"] = other["price"] * 10
    path = write(place / "other.parquet", other)
    loaded = surform.load_model(place / "model")
    assert isinstance(loaded, Ranker)
    return loaded, InteractionsData(str(path), **ROLES, batch_size=64)


def test_a_loaded_ranker_is_tested_with_its_own_vocabularies(tmp_path: Path) -> None:
    model, other = saved(tmp_path)
    about, mean = model.description, model.dense.mean.clone()
    assert about is not None
    assert other.description().vocabularies != about.vocabularies
    module = RankingTask(model.net, metrics=["auc", "log_loss"])
    module.surrogate = model
    run = trainer(tmp_path)
    run.test(module, other, verbose=False)
    assert model.description is about
    assert torch.equal(model.dense.mean, mean)
    columns = two_labels(400, seed=5)
    rows = other.split_rows()["test"].tolist()
    asked = {n: [v[row] for row in rows] for n, v in columns.items()}
    asked["user"] = [f"u{25 - int(user[1:])}" for user in asked["user"]]
    asked["price"] = [10 * price for price in asked["price"]]
    chances = model.score(asked)[:, 0].numpy()
    found = figures(run, "test")
    assert found["auc"] == pytest.approx(auc(asked["click"], chances), abs=1e-6)
    assert found["log_loss"] == pytest.approx(log_loss(asked["click"], chances), abs=1e-5)


def test_a_loaded_ranker_is_trained_on_with_its_own_statistics(tmp_path: Path) -> None:
    model, other = saved(tmp_path)
    mean = model.dense.mean.clone()
    other.read_as(model.description)
    (fresh,) = other.normalizers()
    assert (fresh.mean - mean).abs() > 1
    module = RankingTask(model.net)
    module.surrogate = model
    fit(tmp_path, module, other)
    assert torch.equal(model.dense.mean, mean)
    again = task(other)
    fit(tmp_path, again, other)
    assert torch.equal(again.surrogate.dense.mean, fresh.mean)
    assert again.surrogate.description.vocabularies == model.description.vocabularies
