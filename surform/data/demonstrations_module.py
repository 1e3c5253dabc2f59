"""Demonstrations of robots as a Lightning data module."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch.utils.data import DataLoader

from surform.data.demonstrations_batch import DemonstrationBatch
from surform.data.demonstrations_check import check_actions, check_window
from surform.data.demonstrations_description import DemonstrationsDescription
from surform.data.demonstrations_files import open_demonstrations
from surform.data.demonstrations_recording import record
from surform.data.demonstrations_rows import starts_of
from surform.data.demonstrations_samples import DemonstrationSamples, Recorded
from surform.data.demonstrations_source import Demonstrations, JoinedDemonstrations
from surform.data.demonstrations_splits import Amount, chosen_tasks, divide_episodes
from surform.data.demonstrations_statistics import SCALES, Scale, measure, normalizer_of
from surform.data.loaders import joint_processes
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.provision import provide
from surform.data.splits import SPLITS

__all__ = ["DemonstrationsData"]

_MEMORY_LIMIT = 2**30  # steps are held in memory up to this size under "auto"


class DemonstrationsData(OrderedData):
    """Windows over demonstrations: the last observations, and the actions from then on.

    Args:
        path: HDF5 in the layout of robomimic, LIBERO, Minari or ALOHA, the folder of a LeRobot v3
            or ALOHA data set, a pattern or a list of such; or a mapping train, validation, test ->
            these.
        generate: make `path` with a solver when it is not there yet.
        observations: vectors that make the state, in this order; null: all that there are.
        cameras: names of those whose images are read.
        image_size: height and width, or one side of squares, that images are brought to [pixels];
            null: as they are stored.
        language: what the robot is told: "text", the instruction (or the name of the task) as
            hashed pieces of words; or an observation that holds an embedding. null: nothing.
        language_dim: length of embeddings of text.
        tasks: names of tasks or instructions; null: all.
        history: observations of a window, the newest one included.
        chunk: actions of a window.
        split: "train", "validation", "test" -> a count or fraction of the episodes, the same share
            of every task; or names of masks in the file. Default: 10 per cent for validation.
        split_seed: of the choice.
        state_scale, action_scale: "limits" brings numbers into [-1, 1], "gaussian" to mean 0 and
            deviation 1, as far as training episodes tell; "none" leaves them.
        action_limits: [low, high] of all numbers of an action, or of each, instead of what training
            episodes have; actions beyond are refused.
        batch_size: windows per training batch and process.
        eval_batch_size: likewise for validation and test; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        workers: processes that read windows.
        cache: "memory" holds all steps, "files" reads each window from the files, "auto" decides by
            size (1 GiB), numbers before images. What is stored packed (JPEG, PNG, video, Parquet)
            and does not fit is unpacked once, in the size that the network sees.
        unpacked: folder for what is unpacked; null: beside the data.
        seed: of shuffling.
    """

    def __init__(
        self,
        path: str | list[str] | dict[str, Any],
        generate: dict[str, Any] | None = None,
        observations: list[str] | None = None,
        cameras: list[str] = [],  # noqa: B006  (read only; jsonargparse shows it)
        image_size: int | list[int] | None = None,
        language: str | None = None,
        language_dim: int = 64,
        tasks: list[str] | None = None,
        history: int = 1,
        chunk: int = 1,
        split: dict[str, Amount] | None = None,
        split_seed: int = 0,
        state_scale: Scale = "limits",
        action_scale: Scale = "limits",
        action_limits: list[Any] | None = None,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        drop_last: bool = True,
        workers: int = 0,
        cache: Literal["auto", "memory", "files"] = "auto",
        unpacked: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("state_scale", state_scale, SCALES),
            ("action_scale", action_scale, SCALES),
            ("cache", cache, ("auto", "memory", "files")),
        ):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose {', '.join(choices)}")
        for name, least, value in (
            ("history", 1, history), ("chunk", 1, chunk), ("language_dim", 8, language_dim),
            ("batch_size", 1, batch_size), ("eval_batch_size", 1, eval_batch_size),
            ("workers", 0, workers), ("seed", 0, seed), ("split_seed", 0, split_seed),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        for name, names in (("observations", observations), ("cameras", cameras)):
            _check_once(name, names or ())
        if isinstance(path, Mapping):
            _check_mapping(path, split)
        self.path, self.generate = path, generate
        self.observations, self.cameras = observations, list(cameras)
        self.image_size = _size(image_size)
        self.language, self.language_dim, self.tasks = language, language_dim, tasks
        self.history, self.chunk = history, chunk
        self.split, self.split_seed = split, split_seed
        self.state_scale, self.action_scale = state_scale, action_scale
        self.action_limits = action_limits
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last, self.workers, self.cache = drop_last, workers, cache
        self.unpacked, self.seed = unpacked, seed
        self._opened: _Opened | None = None
        self._statistics: dict[str, dict[str, list[float]]] | None = None

    # -- what the data are -------------------------------------------------------------------

    def description(self) -> DemonstrationsDescription:
        """Names, sizes, statistics and provenance."""
        opened = self._open()
        source, about = opened.source, opened.source.about
        statistics = self.statistics()
        told = sorted({source.episodes[n].told for n in opened.parts["train"]} - {""})
        language = opened.recorded.language
        return DemonstrationsDescription(
            observations={name: about.columns[name].shape[0] for name in opened.vectors},
            cameras={name: [*self._image_size(source, name), 3] for name in self.cameras},
            action_dim=about.actions,
            action_names=about.action_names,
            action_limits=[
                [low, high]
                for low, high in zip(
                    statistics["action"]["min"], statistics["action"]["max"], strict=True
                )
            ],
            history=self.history,
            chunk=self.chunk,
            fps=about.fps,
            language=self.language,
            language_dim=0 if language is None else language.shape[1],
            tasks=tuple(told),
            state_scale=self.state_scale,
            action_scale=self.action_scale,
            statistics=statistics,
            environment=dict(about.environment),
            source={
                "path": source.name,
                "episodes": ", ".join(f"{len(own):,} {n}" for n, own in opened.parts.items()),
                "fingerprint": self._fingerprint(),
                **about.source,
            },
        )

    def statistics(self) -> dict[str, dict[str, list[float]]]:
        """Those of "state" and "action" over training episodes, the given limits in place."""
        if self._statistics is None:
            opened = self._open()
            found = {"action": measure(opened.steps("action", "train"))}
            if opened.vectors:
                found["state"] = measure(opened.steps("state", "train"))
            if self.action_limits is not None:
                low, high = check_actions(self.action_limits, found["action"], opened.source.name)
                found["action"] |= {"min": low, "max": high}
            self._statistics = found
        return self._statistics

    def normalizers(self) -> tuple[Normalizer, Normalizer]:
        """Those of the state and of actions."""
        found = self.statistics()
        none = {name: [] for name in ("min", "max", "mean", "std")}
        return (
            normalizer_of(found.get("state", none), self.state_scale),
            normalizer_of(found["action"], self.action_scale),
        )

    def check(self, trained: DemonstrationsDescription) -> None:
        """ValueError unless these data suit a policy trained on data described by `trained`."""
        trained.require_match(self.description(), self._open().source.name)

    def held_bytes(self) -> int:
        """What the steps take in memory."""
        return self._open().held

    # -- Lightning's hooks -------------------------------------------------------------------

    def prepare_data(self) -> None:
        if self.generate is not None:
            provide(self.path, self.generate)  # type: ignore[arg-type]

    def setup(self, stage: str) -> None:
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        for split in splits:
            if self._has(split):
                windows = len(self.samples(split))
                require_windows(windows, joint_processes(self.trainer)[1], f"{split} ")

    # -- parts -------------------------------------------------------------------------------

    def samples(self, split: str) -> DemonstrationSamples:
        """The windows of a split: a data set of `DemonstrationBatch`."""
        opened = self._open()
        if split not in opened.parts:
            raise ValueError(f"there are no {split} episodes: there are {', '.join(opened.parts)}")
        return DemonstrationSamples(opened.recorded, opened.parts[split], self.history, self.chunk)

    def _has(self, split: str) -> bool:
        return split in self._open().parts

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[DemonstrationBatch], BatchOrder]:
        return self._in_order(self.samples(split), BatchOrder, training, self.workers)

    def _open(self) -> _Opened:
        if self._opened is None:
            self.prepare_data()
            source, parts = self._divided()
            vectors = self._vectors(source)
            recorded, held = record(
                source,
                vectors,
                {name: self._image_size(source, name) for name in self.cameras},
                (self.language, self.language_dim),
                {"memory": float("inf"), "files": 0.0}.get(self.cache, float(_MEMORY_LIMIT)),
                Path(self.unpacked or f"{source.files()[0]}.frames"),
                {int(number) for own in parts.values() for number in own},
            )
            self._opened = _Opened(source, parts, vectors, recorded, held)
        return self._opened

    def _divided(self) -> tuple[Demonstrations, dict[str, np.ndarray]]:
        """What holds all episodes, and the numbers of those of each split."""
        if not isinstance(self.path, Mapping):
            source = open_demonstrations(self.path)
            among = chosen_tasks(source, self.tasks)
            return source, divide_episodes(source, self.split, self.split_seed, among)
        own = {n: open_demonstrations(self.path[n]) for n in SPLITS if self.path.get(n) is not None}
        source = JoinedDemonstrations(list(own.values()))
        among, first, parts = chosen_tasks(source, self.tasks), 0, {}
        for name, each in own.items():
            parts[name] = among[(among >= first) & (among < first + len(each.episodes))]
            first += len(each.episodes)
            if not len(parts[name]):
                raise ValueError(
                    f"{each.name} has no {name} episode of {', '.join(self.tasks or ())}"
                )
        return source, parts

    def _vectors(self, source: Demonstrations) -> list[str]:
        """Names of the observations that make the state."""
        columns = source.about.columns
        for name in self.cameras:
            if source.column(name).kind != "image":
                raise ValueError(
                    f"{name} of {source.name} is no camera: it has numbers, not images"
                )
        if self.observations is not None:
            for name in self.observations:
                if source.column(name).kind != "numbers":
                    raise ValueError(
                        f"{name} of {source.name} is a camera: name it in data.cameras"
                    )
            return list(self.observations)
        return [n for n, c in columns.items() if c.kind == "numbers" and n != self.language]

    def _image_size(self, source: Demonstrations, name: str) -> tuple[int, int]:
        return self.image_size or source.column(name).shape[:2]  # type: ignore[return-value]

    def _fingerprint(self) -> str:
        """sha256 of the episodes' names and lengths, and of some of their steps."""
        opened = self._open()
        digest = hashlib.sha256()
        for split, numbers in opened.parts.items():
            digest.update(f"{split} {len(numbers)}\n".encode())
            for number in numbers:
                episode = opened.source.episodes[number]
                digest.update(f"{episode.name} {episode.steps} {episode.told}\n".encode())
            for number in {int(numbers[0]), int(numbers[-1])}:
                last = opened.source.episodes[number].steps
                digest.update(opened.source.read(number, "action", 0, last).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class _Opened:
    """The episodes, which of them belong to which split, and where their steps lie."""

    source: Demonstrations
    parts: dict[str, np.ndarray]
    vectors: list[str]
    recorded: Recorded
    held: int

    def steps(self, what: Literal["state", "action"], split: str) -> Any:
        """The numbers of each episode of a split, one after the other; checked to be finite."""
        rows: Any = self.recorded.actions if what == "action" else self.recorded.state
        starts = starts_of(self.source)
        for number in self.parts[split].tolist():
            whole = np.arange(int(starts[number]), int(starts[number + 1]))[None]
            values = rows.gather(whole)[0]
            names = "actions" if what == "action" else ", ".join(self.vectors)
            check_window(self.source, number, names, values)
            yield values


def _check_once(what: str, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ValueError(f"{what} names {name!r} twice")


def _check_mapping(path: Mapping[str, Any], split: Any) -> None:
    unknown = sorted(set(path) - set(SPLITS))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r} in path: choose {', '.join(SPLITS)}")
    if path.get("train") is None:
        raise ValueError(f"path names {', '.join(path) or 'nothing'}, but must name train")
    if split is not None:
        raise ValueError("split divides one set of episodes, but path has files of each split")


def _size(given: int | list[int] | None) -> tuple[int, int] | None:
    if given is None:
        return None
    sides = [given, given] if isinstance(given, int) else list(given)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"image_size is {given}, but must be one side, or [height, width]")
    return sides[0], sides[1]
