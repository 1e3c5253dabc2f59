"""Tables of interactions (clicks, ratings, installs) as a Lightning data module."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_columns import coded
from surform.data.interactions_description import InteractionsDescription
from surform.data.interactions_encoder import InteractionsEncoder
from surform.data.interactions_log import InteractionsLog, family, open_log
from surform.data.interactions_roles import Roles, find_roles
from surform.data.interactions_samples import InteractionsSamples
from surform.data.interactions_splits import check_split, divide_rows
from surform.data.interactions_survey import Moments, Survey
from surform.data.interactions_table import InteractionsTable, joined
from surform.data.interactions_transforms import TRANSFORMS
from surform.data.loaders import joint_processes
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.provision import provide
from surform.data.splits import SPLITS

__all__ = ["InteractionsData"]


class InteractionsData(OrderedData):
    """Rows of click logs and other tables of mixed features, and what came of them.

    Args:
        path: CSV, TSV or Parquet, a pattern or a list of such; in Python also a frame of pandas or
            polars, or an Arrow table.
        generate: make `path` with a solver when it is not there yet.
        labels: columns of 0 and 1, one per task; null: the one called label, click, clicked or
            target.
        positive: label -> the least value that counts as 1, for columns such as ratings.
        categorical: columns of one category per row. Once features of any kind are named, other
            columns are left out; null for all kinds: columns are judged by their types.
        multivalued: columns of any number of categories per row: lists, or text with `separator`.
        dense: columns of numbers.
        ignore: columns that are not judged by their types.
        separator: between the categories of multi-valued columns of text, such as "|".
        time: column that rows are ordered by; null: of a type of times, or called timestamp, time,
            datetime or date.
        group: column by which figures are also taken group by group: the user, the query.
        min_count: how often training rows must have a category for it to get a row of its own;
            the others share row 0.
        hashed: column -> rows that its categories are hashed into, instead of a vocabulary.
        transforms: column of numbers -> "log" (sign(x) log(1 + |x|)) or "sqrt", before
            standardising; or one of them for all columns.
        missing: what stands for missing numbers: "error" refuses them, "mean" takes the training
            rows' mean, or a number; or column -> one of these.
        split: "train", "validation", "test" -> a share or number of rows, or (by time) the date
            before which it ends. Default: 80, 10 and 10 per cent.
        split_by: "random", "time", or "last": the last row of each group tests, the one before
            validates.
        split_seed: of the random split.
        vocabularies: description of a trained model, or the folder of a saved one: the table is
            read as that model's was, whatever else is given here.
        batch_size: rows per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        workers: processes that make batches.
        delimiter: between the fields of a text file; null finds it.
        header: names of the columns of text files that have no line of names.
        seed: of shuffling.
    """

    protocol = "clean"

    def __init__(
        self,
        path: Any,
        generate: dict[str, Any] | None = None,
        labels: list[str] | None = None,
        positive: dict[str, float] | None = None,
        categorical: list[str] | None = None,
        multivalued: list[str] | None = None,
        dense: list[str] | None = None,
        ignore: list[str] | None = None,
        separator: str = "",
        time: str | None = None,
        group: str | None = None,
        min_count: int = 1,
        hashed: dict[str, int] | None = None,
        transforms: str | dict[str, str] | None = None,
        missing: str | float | dict[str, str | float] = "error",
        split: dict[str, Any] | None = None,
        split_by: Literal["random", "time", "last"] = "random",
        split_seed: int = 0,
        vocabularies: Any = None,
        batch_size: int = 1024,
        eval_batch_size: int | None = None,
        drop_last: bool = True,
        workers: int = 0,
        delimiter: str | None = None,
        header: list[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, least, value in (
            ("batch_size", 1, batch_size), ("eval_batch_size", 1, eval_batch_size),
            ("workers", 0, workers), ("seed", 0, seed), ("split_seed", 0, split_seed),
            ("min_count", 1, min_count),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        split = None if split is None else {k: _amount(v) for k, v in split.items()}
        check_split(split, split_by)
        if split_by == "last" and group is None:
            raise ValueError("split_by='last' needs group, the column of users or sessions")
        self.path, self.generate = path, generate
        self.columns: dict[str, Any] = {
            "labels": labels, "categorical": categorical, "multivalued": multivalued,
            "dense": dense, "ignore": ignore, "separator": separator, "time": time, "group": group,
        }  # fmt: skip
        self.positive, self.hashed = dict(positive or {}), dict(hashed or {})
        self.min_count, self.transforms, self.missing = min_count, transforms, missing
        self.split, self.split_by, self.split_seed = split, split_by, split_seed
        self.vocabularies = vocabularies
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last, self.workers, self.seed = drop_last, workers, seed
        self.text = {"delimiter": delimiter, "names": header}
        self._opened: _Opened | None = None

    # -- what the data are -------------------------------------------------------------------

    def description(self) -> InteractionsDescription:
        """Columns, vocabularies and provenance of the table."""
        return self._open().about

    def normalizers(self) -> tuple[Normalizer, ...]:
        """The normaliser of the numbers, fitted to the training rows; none without numbers."""
        found = self._open().dense
        return () if found is None else (found,)

    def check(self, trained: InteractionsDescription) -> None:
        """ValueError unless the table suits a model trained on one described by `trained`."""
        trained.require_match(self.description(), self._open().log.name)

    def read_as(self, trained: InteractionsDescription) -> None:
        """From now on, read the table as that of a trained model: its columns and vocabularies."""
        self.vocabularies, self._opened = trained, None

    def held_bytes(self) -> int:
        """What the encoded rows take in memory."""
        return self._open().table.nbytes

    # -- Lightning's hooks -------------------------------------------------------------------

    def prepare_data(self) -> None:
        if self.generate is not None:
            provide(self.path, self.generate)

    def setup(self, stage: str) -> None:
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        for split in splits:
            if self._has(split):
                ranks = joint_processes(self.trainer)[1]
                require_windows(len(self.samples(split)), ranks, f"{split} ")

    # -- parts -------------------------------------------------------------------------------

    def samples(self, split: str) -> InteractionsSamples:
        """The rows of "train", "validation" or "test": a data set of `InteractionsBatch`."""
        opened = self._open()
        if split not in opened.numbers:
            raise ValueError(f"there are no {split} rows: there are {', '.join(opened.numbers)}")
        return InteractionsSamples(opened.table, opened.numbers[split])

    def split_rows(self) -> dict[str, np.ndarray]:
        """Numbers of the rows of each split, rising, counted over all files."""
        return self._open().numbers

    def _has(self, split: str) -> bool:
        return split in self._open().numbers

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[InteractionsBatch], BatchOrder]:
        return self._in_order(self.samples(split), BatchOrder, training, self.workers)

    def _open(self) -> _Opened:
        if self._opened is None:
            self.prepare_data()
            log = open_log(self.path, **self.text)
            trained = _trained(self.vocabularies)
            columns = self.columns if trained is None else _columns_of(trained, self.columns)
            roles = find_roles(log, columns)
            log.require(roles.all)
            codes = self._codes(log, roles)
            about, dense = self._surveyed(log, roles, codes) if trained is None else (trained, None)
            table = _encoded(log, roles, about)
            numbers = {n: np.flatnonzero(codes == i) for i, n in enumerate(SPLITS)}
            numbers = {name: own for name, own in numbers.items() if len(own)}
            source = _source(log, roles, numbers, table)
            self._opened = _Opened(log, replace(about, source=source), dense, table, numbers)
        return self._opened

    def _codes(self, log: InteractionsLog, roles: Roles) -> np.ndarray:
        """Per row the number of its split."""
        times = groups = None
        if self.split_by != "random":
            if roles.time is None:
                raise ValueError(f"split_by={self.split_by!r} needs time, the column to order by")
            times = _times(log, roles.time)
        if self.split_by == "last":
            assert roles.group is not None
            column = log.column(roles.group).unify_dictionaries().combine_chunks()
            groups = coded(column, True, f"column {roles.group!r} of {log.name}")[1]
        return divide_rows(
            log.rows, log.name, self.split, self.split_by, self.split_seed, times, groups
        )

    def _surveyed(
        self, log: InteractionsLog, roles: Roles, codes: np.ndarray
    ) -> tuple[InteractionsDescription, Normalizer | None]:
        """What the training rows say: vocabularies, fills, and the normaliser of the numbers."""
        transforms = self._transforms(roles)
        given: dict[str, Any] = {
            "hashed": self.hashed, "positive": self.positive, "transforms": transforms,
            "separator": self.columns["separator"], "fills": self._fills(roles, transforms),
        }  # fmt: skip
        survey = Survey(roles, log.schema, given)
        for part in log.parts(roles.encoded):
            own = codes[part.row : part.row + part.batch.num_rows]
            survey.add(part, np.flatnonzero(own == SPLITS.index("train")))
        survey.check(log.name)
        means = {n: m.mean for n, m in survey.moments.items() if self._missing(n) == "mean"}
        about = InteractionsDescription(
            categorical=roles.categorical,
            multivalued=roles.multivalued,
            dense=roles.dense,
            labels=roles.labels,
            vocabularies={n: c.vocabulary(self.min_count) for n, c in survey.counts.items()},
            group=roles.group or "",
            **given | {"fills": given["fills"] | means},
        )
        return about, _normalizer(list(survey.moments.values()))

    def _transforms(self, roles: Roles) -> dict[str, str]:
        if isinstance(self.transforms, str):
            return dict.fromkeys(roles.dense, self.transforms)
        return dict(self.transforms or {})

    def _missing(self, name: str) -> str | float:
        if isinstance(self.missing, Mapping):
            return self.missing.get(name, "error")
        return self.missing

    def _fills(self, roles: Roles, transforms: Mapping[str, str]) -> dict[str, float]:
        """What stands for missing numbers where that does not depend on the data."""
        found = {}
        for name in roles.dense:
            value = self._missing(name)
            if isinstance(value, str):
                if value not in ("error", "mean"):
                    raise ValueError(f"missing={value!r}: choose error, mean or a number")
                continue
            change = TRANSFORMS.get(transforms.get(name, "none"), TRANSFORMS["none"])
            found[name] = float(change(np.array(float(value))))
        return found


@dataclass(frozen=True)
class _Opened:
    """The table, encoded, and which of its rows belong to which split."""

    log: InteractionsLog
    about: InteractionsDescription
    dense: Normalizer | None
    table: InteractionsTable
    numbers: dict[str, np.ndarray]


def _encoded(
    log: InteractionsLog, roles: Roles, about: InteractionsDescription
) -> InteractionsTable:
    encoder = InteractionsEncoder(about)
    return joined([encoder.encode(p.batch, p.file, p.within) for p in log.parts(roles.encoded)])


def _normalizer(moments: list[Moments]) -> Normalizer | None:
    if not moments:
        return None
    mean, std = (np.array([getattr(m, name) for m in moments]) for name in ("mean", "std"))
    return Normalizer(torch.from_numpy(mean), torch.from_numpy(std))


def _times(log: InteractionsLog, name: str) -> np.ndarray:
    """Times as datetime64[us], or as plain numbers."""
    column = log.column(name)
    kind = family(column.type)
    if kind not in ("times", "numbers") or column.null_count:
        lacking = f"{column.null_count} missing times" if column.null_count else kind
        raise ValueError(
            f"column {name!r} of {log.name} holds {lacking}: rows are ordered by times or numbers, "
            "one in every row"
        )
    found = column.to_numpy()
    return found.astype("datetime64[us]") if found.dtype.kind == "M" else found


def _trained(given: Any) -> InteractionsDescription | None:
    """The description of a trained model, from what names it."""
    if given is None or isinstance(given, InteractionsDescription):
        return given
    if isinstance(given, Mapping):
        return InteractionsDescription.from_dict(given)
    from pathlib import Path

    path = Path(given)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no saved model at {given}: vocabularies names its folder")
    found = json.loads(path.read_text(encoding="utf-8")).get("description")
    if not isinstance(found, Mapping) or "vocabularies" not in found:
        raise ValueError(f"{path} is of no model of interactions: it has no vocabularies")
    return InteractionsDescription.from_dict(found)


def _columns_of(about: InteractionsDescription, given: Mapping[str, Any]) -> dict[str, Any]:
    """Roles as a trained model has them; times and groups are of no matter to it."""
    return {
        **given,
        "labels": list(about.labels),
        "categorical": list(about.categorical),
        "multivalued": list(about.multivalued),
        "dense": list(about.dense),
        "separator": about.separator,
        "group": given["group"] or about.group or None,
    }


def _source(
    log: InteractionsLog, roles: Roles, numbers: Mapping[str, np.ndarray], table: InteractionsTable
) -> dict[str, str]:
    """Provenance: where the rows are from, how many, what was inferred, and a fingerprint."""
    digest = hashlib.sha256(json.dumps([log.rows, roles.encoded]).encode())
    some = np.unique(np.linspace(0, len(table) - 1, 256).astype(np.int64))
    for array in vars(table.rows(some)).values():
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    for own in numbers.values():
        digest.update(own[:256].tobytes())
    found = {
        "path": log.name,
        "rows": ", ".join(f"{len(own):,} {name}" for name, own in numbers.items()),
        "fingerprint": digest.hexdigest(),
    }
    return found | {f"inferred {role}": ", ".join(n) for role, n in roles.inferred.items()}


def _amount(value: Any) -> Any:
    """YAML makes dates of 2017-07-01."""
    return value if isinstance(value, int | float | str) else str(value)
