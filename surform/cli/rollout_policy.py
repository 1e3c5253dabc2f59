"""`surform rollout --env`: let a policy act in an environment, and count where it succeeds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surform.data.environments import ENVIRONMENTS

if TYPE_CHECKING:
    from surform.robotics.evaluation import Evaluation

__all__ = ["add_policy_arguments", "refuse_policy_options", "run_policy"]

_OWN = ("task", "episodes", "execute", "temporal_ensemble", "instruction", "env_option", "films",
        "workers", "timeout", "compile")  # fmt: skip
_FIELDS = ("data", "statistics", "members", "perturb", "damping", "damping_cutoff", "clamp",
           "limit_energy")  # fmt: skip
_OURS = ("results.json", "report.html", "episodes.png", "films")
_EPISODES, _FILMS, _TIMEOUT = 20, 4, 60.0


def add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of policies."""
    add = parser.add_argument_group("policies").add_argument
    names = ", ".join(sorted(ENVIRONMENTS))
    add("--env", metavar="NAME", help=f"{names}, module:Class, or an id that Gymnasium knows")
    add(
        "--task", nargs="+", metavar="T", help="of the environment (all); mt10: those of Meta-World"
    )
    add("--episodes", type=int, metavar="N", help=f"of each task ({_EPISODES})")
    add("--execute", type=int, metavar="K", help="actions of each chunk that are done (half of it)")
    add(
        "--temporal-ensemble",
        type=float,
        metavar="M",
        help="predict at every step, and average what chunks say of it with weights exp(-M i)",
    )
    add("--instruction", metavar="TEXT", help="instead of what the environment says")
    add(
        "--env-option",
        nargs="+",
        metavar="NAME=VALUE",
        help="arguments of the environment, such as image_size=96",
    )
    add("--films", type=int, metavar="N", help=f"episodes to film for --out or --report ({_FILMS})")
    add("--workers", type=int, metavar="W", help="processes of environments (one per core)")
    add(
        "--compile",
        action="store_true",
        default=None,
        help="compile what the policy spends its time in: up to a minute at the first action",
    )
    add("--timeout", type=float, metavar="S", help=f"seconds for one step ({_TIMEOUT:g})")


def refuse_policy_options(args: argparse.Namespace) -> None:
    """ValueError where an option is given that only a policy has."""
    for name in _OWN:
        if getattr(args, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} does nothing without --env")


def run_policy(args: argparse.Namespace) -> int:
    """Run the episodes, print a table, write what was asked for."""
    from surform.data.solvers.points_run import usable_cores
    from surform.data.solvers.progress import progress_bar
    from surform.robotics.closed_loop import evaluate

    folder = _checked(args)
    policy = _policy(args)
    films = (_FILMS if folder or args.report else 0) if args.films is None else args.films
    with _film_folder(folder, films) as place, progress_bar(f"rollout: {args.env}") as show:
        found = evaluate(
            policy,
            args.env,
            tasks=args.task,
            episodes=_EPISODES if args.episodes is None else args.episodes,
            seed=args.seed,
            execute=args.execute,
            ensemble=args.temporal_ensemble,
            steps=args.steps,
            instruction=args.instruction,
            options=_options(args.env_option or []),
            workers=usable_cores() if args.workers is None else args.workers,
            batch_size=args.batch_size,
            timeout=_TIMEOUT if args.timeout is None else args.timeout,
            films=films,
            folder=place,
            progress=show,
        )
        _print(found)
        for path in _write(args, found, folder, place):
            print(f"wrote {path}")
    return 0


def _policy(args: argparse.Namespace) -> Any:
    from surform.cli.load import load_any
    from surform.robotics.acting import ready_to_act

    if len(args.model) > 1:
        raise ValueError(f"--env runs one policy, but {len(args.model)} are given")
    policy = load_any(args.model[0], args.device)
    if hasattr(policy, "robot_for"):
        policy = policy.robot_for(args.env)
    if not hasattr(policy, "act"):
        raise ValueError(
            f"{args.model[0]} is no policy, but of the kind {policy.kind}: leave out --env"
        )
    return ready_to_act(policy, compile=bool(args.compile))


def _checked(args: argparse.Namespace) -> Path | None:
    """The folder of the results; what cannot be is refused before anything runs."""
    from surform.data.atomic import refuse_folder
    from surform.data.writable import check_writable

    for name in _FIELDS:
        if getattr(args, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} does nothing for a policy (--env)")
    if args.films and not (args.out or args.report):
        raise ValueError("--films are for --out or --report: give one of them")
    if args.report:
        refuse_folder(args.report, "--report")
    if not args.out:
        return None
    folder = Path(args.out)
    if folder.is_file():
        raise FileExistsError(f"--out {folder} is an existing file; give the name of a folder")
    check_writable(folder, "--out", inside=True)
    strange = [p.name for p in folder.iterdir() if p.name not in _OURS] if folder.is_dir() else []
    if strange:
        raise FileExistsError(
            f"--out {folder} holds something else than results, {strange[0]}: choose another"
        )
    return folder


def _film_folder(folder: Path | None, films: int) -> Any:
    """Where films go: the folder of the results, or one that is gone afterwards."""
    from contextlib import nullcontext
    from tempfile import TemporaryDirectory

    if not films:
        return nullcontext(None)
    return nullcontext(folder / "films") if folder else TemporaryDirectory()


def _options(words: list[str]) -> dict[str, Any]:
    import yaml

    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"--env-option is NAME=VALUE, not {word!r}")
        found[name] = yaml.safe_load(value)
    return found


def _print(found: Evaluation) -> None:
    from surform.cli.rollout import print_table

    shown = [_line(row) for row in found.rows()]
    print_table(shown, tuple(dict.fromkeys(key for row in shown for key in row)))
    if all(episode.success is None for episode in found.episodes):
        print("the environment tells no success: there are returns and lengths only")
    restarts = sum(episode.restarts for episode in found.episodes)
    if restarts:
        print(f"{restarts} times an episode was begun again, as its process had failed")


def _line(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table as it fits a terminal; what is not known is left out."""
    between = f"{row['low']:.2f} to {row['high']:.2f}" if row["low"] == row["low"] else None
    found = {
        "task": row["task"],
        "episodes": row["episodes"],
        "success": row["success rate"],
        "95 %": between,
        "return": row["mean return"],
        "steps": row["mean steps"],
        "coverage": row["mean coverage"],
    }
    return {name: value for name, value in found.items() if value is not None and value == value}


def _write(
    args: argparse.Namespace, found: Evaluation, folder: Path | None, films: str | Path | None
) -> list[Path]:
    from surform.data.atomic import replacing
    from surform.robotics.loop_report import loop_report, sheet_of

    written: list[Path] = []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        written.append(found.write(folder / "results.json"))
        if found.strips:
            with replacing(folder / "episodes.png") as new:
                new.write_bytes(sheet_of(found))
            written += [folder / "episodes.png", folder / "films"]
    pages = [folder / "report.html"] if folder is not None else []
    pages += [Path(args.report)] if args.report else []
    details = {"model": args.model[0]}
    title = f"{Path(args.model[0]).name} in {args.env}"
    place = None if films is None else Path(films)
    return written + [loop_report(page, found, title, details, place) for page in pages]
