"""`surform tune`, behind its options: trial after trial, and what they leave."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from dataclasses import replace

from surform.cli.fit_config import apply_overrides, merge_all, read_config
from surform.cli.fit_progress import quiet
from surform.cli.fit_resume import check_classes
from surform.cli.lightning_cli import owned, recipe_name
from surform.cli.tune_plan import Plan, Start, make_plan
from surform.cli.tune_space import parse_space
from surform.cli.tune_study import Row, Study, stored_plan
from surform.cli.tune_table import (
    best_rows,
    brief,
    counted,
    listing,
    named,
    summary,
    write_best,
    write_trials,
)
from surform.cli.tune_trial import StoppedError, concerns_all, free_memory, reason, run_trial

__all__ = ["run"]

_HOPELESS = 3  # trials that fail for the same reason before any completes
_NUMBERS = re.compile(r"[-+]?\d[\d.e+-]*")
_HEAVY = ("checkpoints", "model")  # of a run folder; kept of the best trial only


def run(args: argparse.Namespace, overrides: list[str]) -> int:
    """Tune; returns the exit code.

    Raises:
        ValueError: the command does not fit the recipe or the folder, or all trials failed.
    """
    _check(args)
    quiet()
    until = time.monotonic() + args.timeout if args.timeout is not None else float("inf")
    with owned(args.out / "study"):
        plan = _plan(args, overrides)
        study = Study(args.out, plan)
        _go_on(study, args, until)
        return _finish(study)


def _check(args: argparse.Namespace) -> None:
    if args.trials < 1:
        raise ValueError(f"--trials must be at least 1, got {args.trials}")
    if args.timeout is not None and not args.timeout > 0:
        raise ValueError(f"--timeout must be above 0 seconds, got {args.timeout:g}")
    if (args.out / "checkpoints").is_dir():
        raise ValueError(f"{args.out} holds a run of surform fit: choose another --out")


def _plan(args: argparse.Namespace, overrides: list[str]) -> Plan:
    """What the command asks for; what it leaves out is as the folder has it."""
    stored = stored_plan(args.out)
    words = args.search or [f"{key}={text}" for key, text in stored.get("space", {}).items()]
    space = parse_space(words)
    if stored and not args.config:
        start = Start(**stored["start"])
        check_classes(start.config, apply_overrides({}, overrides), args.out)
        start = replace(start, overrides=[*start.overrides, *overrides])
        return make_plan(stored["title"], start, space)
    config = merge_all({}, [read_config(source) for source in args.config])
    return make_plan(recipe_name(args.config), Start(config, overrides), space)


def _go_on(study: Study, args: argparse.Namespace, until: float) -> None:
    """Trial after trial until there are enough, or time is over."""
    wanted = min(args.trials, study.total)
    if wanted < args.trials:
        _say(f"there are only {wanted:.0f} different trials: each is trained once")
    if there := len(study.rows()):
        _say(f"{args.out} holds {counted(there)}{': going on' if there < wanted else ''}")
    (study.folder / "trials").mkdir(exist_ok=True)
    begun = False
    while (place := study.next_place()) < wanted:
        if begun and time.monotonic() > until:
            _say(f"{args.timeout:g} seconds are over after {counted(len(study.rows()))}")
            break
        begun = True
        _train(study, place, args.prune)
        _keep(study)
        _refuse_hopeless(study)


def _train(study: Study, place: int, prune: bool) -> None:
    trial, values = study.ask(place)
    own = ", the recipe's own values" if place == 0 and values == study.plan.own else ""
    _say(f"trial {place}{own}: {named(values)}")
    folder = study.folder / "trials" / str(place)
    if folder.exists():  # of a process that ended
        shutil.rmtree(folder)

    def stops(figure: float, seen: int) -> bool:
        trial.report(figure, seen)
        return prune and trial.should_prune()

    title = f"{study.plan.title}, trial {place}"
    try:
        config = study.plan.with_values(values)
        name, figure = run_trial(config, folder, title, stops)
    except StoppedError:
        study.prune(trial)
    except BaseException as error:
        if concerns_all(error):
            study.withdraw(trial)
            raise
        study.fail(trial, reason(error))
    else:
        trial.set_user_attr("figure", name)
        study.complete(trial, figure)
    free_memory()
    _say(f"trial {place}: {_ending(study, place)}")


def _ending(study: Study, place: int) -> str:
    row = next(row for row in study.rows() if row.place == place)
    took = f"{row.seconds:.0f} s"
    if row.state == "failed":
        return f"failed after {took}: {row.reason}"
    best = study.best()
    if row.state == "pruned" or best is None:
        return f"stopped after {took} at {row.figure:.6g}"
    mark = (
        "the best so far" if best.place == place else f"best {best.figure:.6g}, trial {best.place}"
    )
    return f"{study.figure} {row.figure:.6g} ({mark}), {took}"


def _keep(study: Study) -> None:
    """Write what the trials so far give, and remove the weights of all but the best one."""
    best = study.best()
    write_trials(study.folder / "trials.csv", study.rows())
    for folder in (study.folder / "trials").iterdir():
        if best is None or folder.name != str(best.place):
            for name in _HEAVY:
                shutil.rmtree(folder / name, ignore_errors=True)
    if best is not None:
        config = (study.folder / "trials" / str(best.place) / "config.yaml").read_text("utf-8")
        write_best(study.folder / "best.yaml", config, _header(study))


def _header(study: Study) -> list[str]:
    rows, best = study.rows(), study.best()
    assert best is not None
    reached = f"{study.figure} {best.figure:.6g} (trial {best.place})"
    searched = ", ".join(f"{key} {value}" for key, value in best.values.items())
    lines = [
        f"The best of {counted(len(rows))} of surform tune: {reached}.",
        f"Searched: {searched}.",
    ]
    if (own := _own(study)) is not None:
        lines.append(f"With the recipe's own values: {own.figure:.6g}.")
    return [*lines, f"Command: surform fit --config {study.folder / 'best.yaml'}"]


def _own(study: Study) -> Row | None:
    """The trial with the recipe's own values, where it has a figure."""
    rows = study.rows()
    own = study.plan.own is not None and rows and rows[0].state == "completed"
    return rows[0] if own else None


def _refuse_hopeless(study: Study) -> None:
    """ValueError where nothing completes and all that happens is the same."""
    rows = study.rows()
    alike = {_NUMBERS.sub("", row.reason) for row in rows[-_HOPELESS:]}
    if len(rows) >= _HOPELESS and study.best() is None and len(alike) == 1:
        raise ValueError(f"{len(rows)} trials of {len(rows)} failed, all alike: {rows[-1].reason}")


def _finish(study: Study) -> int:
    rows, best, own = study.rows(), study.best(), _own(study)
    if best is None:
        raise ValueError(f"all {len(rows)} trials failed; the last one: {rows[-1].reason}")
    print(f"{counted(len(rows))} in {study.folder}: {summary(rows)}")
    print(listing(best_rows(rows, study.plan.greater), study.figure))
    if own is not None:
        print(f"the recipe's own values: {study.figure} {own.figure:.6g}, trial {own.place}")
    if shares := study.importances():
        texts = [f"{name} {share:.2f}" for name, share in brief(shares).items()]
        print(f"importance: {', '.join(texts)}")
    print(f"best configuration: {study.folder / 'best.yaml'}")
    print(f"best model: {study.folder / 'trials' / str(best.place) / 'model'}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
