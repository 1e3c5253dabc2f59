"""Published click logs whose files everybody has: names, types and roles of their columns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surform.data.extras import require_extra
from surform.data.faults import first_line
from surform.data.interactions_derived import Derived, hour_of, weekday_of
from surform.data.interactions_log import InteractionsLog, is_path, open_log
from surform.data.interactions_text import TextFormat

__all__ = ["LAYOUTS", "Layout", "layout_of"]

LAYOUTS = ("criteo", "avazu", "movielens")


@dataclass(frozen=True)
class Layout:
    """What is known of a data set beforehand.

    Args:
        roles: options of `InteractionsData` that are not given otherwise.
        text: of its text files.
        derived: columns that are computed.
    """

    roles: Mapping[str, Any]
    text: TextFormat = field(default_factory=TextFormat)
    derived: Mapping[str, Derived] = field(default_factory=dict)


def layout_of(name: str, path: Any) -> tuple[Any, Layout]:
    """The files of a data set in a published layout, and the layout.

    Raises:
        ValueError: an unknown layout.
        FileNotFoundError: a file that belongs to it is missing.
    """
    if name not in LAYOUTS:
        raise ValueError(f"layout={name!r}: choose {', '.join(LAYOUTS)}, or none")
    if name == "movielens":
        return _movielens(path)
    return path, _criteo() if name == "criteo" else _avazu()


def _criteo() -> Layout:
    """Criteo's display advertising challenge: a label, 13 counts, 26 hashed categories."""
    arrow = require_extra("pyarrow", "tables", "reading Criteo's files")
    counts = [f"I{n}" for n in range(1, 14)]
    categories = [f"C{n}" for n in range(1, 27)]
    types = dict.fromkeys(counts, arrow.float64()) | dict.fromkeys(categories, arrow.string())
    return Layout(
        {
            "labels": ["label"],
            "dense": counts,
            "categorical": categories,
            "transforms": "log",
            "missing": "mean",
        },
        # the challenge's test.txt has no labels
        TextFormat(names=("label", *counts, *categories), types=types, optional=1),
    )


def _avazu() -> Layout:
    """Avazu's click-through rate challenge: all columns are categories, hours are YYMMDDHH."""
    arrow = require_extra("pyarrow", "tables", "reading Avazu's files")
    texts = (
        "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category",
        "device_id", "device_ip", "device_model",
    )  # fmt: skip
    whole = (
        "C1", "banner_pos", "device_type", "device_conn_type",
        "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21",
    )  # fmt: skip
    types: dict[str, Any] = dict.fromkeys((*texts, "id"), arrow.string())
    types |= dict.fromkeys(whole, arrow.int64())
    return Layout(
        {
            "labels": ["click"],
            "categorical": [*whole[:2], *texts, *whole[2:], "hour_of_day", "weekday"],
            "time": "hour",
        },
        TextFormat(types=types),
        {
            "hour_of_day": Derived("hour", arrow.int64(), lambda c: hour_of(_avazu_seconds(c))),
            "weekday": Derived("hour", arrow.int64(), lambda c: weekday_of(_avazu_seconds(c))),
        },
    )


def _avazu_seconds(hours: Any) -> Any:
    """Seconds since 1970 of an Arrow array of 14102100: the hour 0 of 2014-10-21."""
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    texts = hours.cast(arrow.int64()).cast(arrow.string())
    try:
        found = arrow.compute.strptime(texts, format="%y%m%d%H", unit="s")
    except arrow.ArrowInvalid as error:
        said = first_line(error).partition(" as ")[0]
        raise ValueError(f"column 'hour' must hold YYMMDDHH, as Avazu's does: {said}") from error
    return found.cast(arrow.int64())


def _movielens(path: Any) -> tuple[Any, Layout]:
    """MovieLens with ratings.csv and movies.csv (ml-latest-small, ml-25m, ml-32m).

    A rating of 4 or more is a positive label. Features are user, movie, its year and genres, and
    hour and weekday of the rating (UTC).
    """
    arrow = require_extra("pyarrow", "tables", "reading MovieLens")
    if not is_path(path) or isinstance(path, list | tuple):
        raise ValueError(
            "layout='movielens' needs the folder of ratings.csv and movies.csv as path, not "
            f"{type(path).__name__}"
        )
    folder = Path(os.fspath(path))
    folder = folder if folder.is_dir() else folder.parent
    ratings, movies = (_beside(folder, name) for name in ("ratings.csv", "movies.csv"))
    films = _Films(open_log(str(movies), TextFormat(types={"title": arrow.string()})))
    roles = {
        "labels": ["rating"],
        "positive": {"rating": 4.0},
        "categorical": ["userId", "movieId", "year", "hour", "weekday"],
        "multivalued": ["genres"],
        "time": "timestamp",
        "group": "userId",
    }
    derived = {
        "year": Derived("movieId", arrow.int64(), films.years),
        "genres": Derived("movieId", arrow.list_(arrow.string()), films.genres),
        "hour": Derived("timestamp", arrow.int64(), hour_of),
        "weekday": Derived("timestamp", arrow.int64(), weekday_of),
    }
    return str(ratings), Layout(roles, derived=derived)


def _beside(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise FileNotFoundError(f"{folder} has no {name} (or {name}.gz), as MovieLens does")


class _Films:
    """movies.csv: years at the ends of titles, genres with bars between them."""

    def __init__(self, log: InteractionsLog) -> None:
        arrow = require_extra("pyarrow", "tables", "reading MovieLens")
        log.require(["movieId", "title", "genres"])
        compute = arrow.compute
        self._ids = log.column("movieId").combine_chunks()
        titles = log.column("title").combine_chunks()
        found = compute.extract_regex(titles, r"\((?P<year>\d{4})(?:[-–]\d{0,4})?\)\s*$")
        self._years = compute.struct_field(found, "year").cast(arrow.int64())
        genres = log.column("genres").combine_chunks()
        none = compute.equal(genres, "(no genres listed)")
        self._genres = compute.split_pattern(compute.if_else(none, None, genres), "|")

    def years(self, movies: Any) -> Any:
        return self._years.take(self._places(movies))

    def genres(self, movies: Any) -> Any:
        return self._genres.take(self._places(movies))

    def _places(self, movies: Any) -> Any:
        compute = require_extra("pyarrow.compute", "tables", "reading Arrow tables")
        return compute.index_in(movies, value_set=self._ids)
