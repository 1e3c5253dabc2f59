"""An expert for PushT: long pushes that were tried before in a copy of the physics."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["PushPlanner"]

# The T in its own coordinates [pixels]: a bar and a stem.
_CORNERS = np.array(
    [(-60, 0), (60, 0), (60, 30), (15, 30), (15, 120), (-15, 120), (-15, 30), (-60, 30)], float
)
_MARKS = _CORNERS[[0, 1, 2, 4, 5, 7]]  # whose distance to the goal is the error
_GOAL = (256.0, 256.0, np.pi / 4)
_MIDDLE = np.array([0.0, 45.0])
_AGENT = 15.0  # radius of the disc
_GAP = 2.0  # between the disc and the T before a push
_CIRCLE = 105.0  # radius of the way around the T
_WALL = 22.0  # least distance of the disc's centre from the edge of the field
_FIELD = 512.0
_TRAVEL = 22.0  # pixels in a step, on the way to a push
_RETREAT = 14.0
_SPACING = 12.0  # between the places on the outline where pushes begin
_NEAR = 22.0  # error below which pushes are chosen more finely
_TRAVEL_COST = 0.004  # of a pixel on the way, in pixels of the error


@dataclass(frozen=True)
class _Push:
    """Where it begins, the unit vector of its direction, and pixels and number of its steps."""

    start: np.ndarray
    direction: np.ndarray
    stride: float
    steps: int

    def targets(self) -> np.ndarray:
        """(steps, 2): where the disc shall be after each."""
        ways = self.stride * np.arange(1, self.steps + 1)
        return self.start + ways[:, None] * self.direction


class PushPlanner:
    """Observation in, the disc's next target (2,) out; the same state gives the same push.

    Whenever it stands still it tries straight pushes from places along the outline of the T, in
    directions about the inward normal, in a copy of the physics; takes the push, and the length of
    it, after which six corners of the T are nearest to where they belong; drives there, around the
    T where it is in the way; pushes, and steps back.
    """

    def __init__(self) -> None:
        self._copy = _Copy()
        self._outline = _outline()
        self._queue: list[np.ndarray] = []

    def __call__(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        if not self._queue:
            agent = observation["agent_pos"].astype(np.float64)
            self._plan(agent, observation["block_pose"].astype(np.float64))
        return self._queue.pop(0)

    def _plan(self, agent: np.ndarray, block: np.ndarray) -> None:
        push = self._best(agent, block)
        if push is None:  # nothing helps from here: step aside and look again
            self._queue += [_inside(agent + _RETREAT * _unit(agent - _placed(_MIDDLE, block)))]
            return
        route = _route(agent, push.start, block)
        self._queue += [*_steps(agent, route), *[push.start] * 3]  # the disc lags behind its target
        targets = push.targets()
        back = targets[-1] - _RETREAT * push.direction
        self._queue += [*targets, targets[-1], _inside(back), _inside(back)]

    def _best(self, agent: np.ndarray, block: np.ndarray) -> _Push | None:
        error = _error(block)
        fine = error < _NEAR
        places = self._outline[:: 1 if fine else 2]
        angles = np.linspace(-0.45, 0.45, 5) if fine else np.linspace(-0.25, 0.25, 3)
        stride, steps = (12.0, 14) if not fine else (5.0, 10) if error > _NEAR / 3 else (2.5, 8)
        best, least = None, error
        for place, normal in places:
            start = _placed(place + (_AGENT + _GAP) * normal, block)
            if not _free(start):
                continue
            cost = _TRAVEL_COST * float(np.linalg.norm(start - agent))
            for angle in angles:
                direction = _turned(-normal, block[2] + angle)
                tried = _Push(start, direction, stride, steps)
                for number, found in enumerate(self._copy.try_push(block, tried), start=1):
                    if _error(found) + cost < least - 1e-9:
                        least = _error(found) + cost
                        best = _Push(start, direction, stride, number)
        return best


class _Copy:
    """The simulator's physics, to try things in."""

    def __init__(self) -> None:
        from gym_pusht.envs.pusht import PushTEnv  # pyright: ignore[reportMissingImports]

        self._world: Any = PushTEnv(obs_type="state")
        self._world.reset(seed=0)
        # a space of its own: that of the simulator counts contacts, which takes half of the time
        self._space = _emptied(self._world.space)

    def try_push(self, block: np.ndarray, push: _Push) -> list[np.ndarray]:
        """The T's pose after each step of a push; ends where the disc would leave the field."""
        self._place(block, push.start)
        found = []
        for target in push.targets():
            if not _free(target):
                break
            self._drive(target)
            found.append(np.array([*self._world.block.position, self._world.block.angle]))
        return found

    def _place(self, block: np.ndarray, agent: np.ndarray) -> None:
        world = self._world
        # turning moves the T's origin, since it turns about its centre of mass: the angle first
        world.block.angle = float(block[2])
        world.block.position = (float(block[0]), float(block[1]))
        world.block.velocity, world.block.angular_velocity = (0, 0), 0
        world.agent.position, world.agent.velocity = tuple(map(float, agent)), (0, 0)
        self._space.reindex_shapes_for_body(world.block)
        self._space.reindex_shapes_for_body(world.agent)

    def _drive(self, target: np.ndarray) -> None:
        """One step of control: what the simulator does, without measuring."""
        world = self._world
        agent, dt = world.agent, world.dt
        goal_x, goal_y = map(float, target)
        (x, y), (u, v) = agent.position, agent.velocity
        for _ in range(round(1 / (dt * world.control_hz))):
            u += dt * (world.k_p * (goal_x - x) - world.k_v * u)
            v += dt * (world.k_p * (goal_y - y) - world.k_v * v)
            agent.velocity = (u, v)
            self._space.step(dt)
            x, y = x + dt * u, y + dt * v  # nothing stops the disc


def _emptied(old: Any) -> Any:
    """A space with the bodies and walls of another one, which loses them."""
    pymunk: Any = importlib.import_module("pymunk")
    space = pymunk.Space()
    space.gravity, space.damping = old.gravity, old.damping
    moved = [*old.bodies, *(shape for body in old.bodies for shape in body.shapes)]
    walls = [shape for shape in old.shapes if isinstance(shape, pymunk.Segment)]
    old.remove(*moved)
    space.add(*moved)
    space.add(*(pymunk.Segment(space.static_body, w.a, w.b, w.radius) for w in walls))
    return space


def _outline() -> list[tuple[np.ndarray, np.ndarray]]:
    """Places on the T's outline, with outward normals, where the disc finds room."""
    found = []
    for first, second in zip(_CORNERS, np.roll(_CORNERS, -1, 0), strict=True):
        along = _unit(second - first)
        normal = np.array([along[1], -along[0]])  # the corners go round with the inside on the left
        length = float(np.linalg.norm(second - first))
        count = max(1, int(length // _SPACING))
        for way in (np.arange(count) + 0.5) / count * length:
            place = first + way * along
            if _distance(place + (_AGENT + _GAP) * normal) > _AGENT + _GAP / 2:
                found.append((place, normal))
    return found


def _route(agent: np.ndarray, start: np.ndarray, block: np.ndarray) -> list[np.ndarray]:
    """Points on the way to `start`: straight where the T is not in the way, else around it."""
    if _clear(agent, start, block):
        return [start]
    middle = _placed(_MIDDLE, block)
    begin = np.arctan2(*(agent - middle)[::-1])
    turn = (np.arctan2(*(start - middle)[::-1]) - begin + np.pi) % (2 * np.pi) - np.pi
    ways = []
    for sweep in (turn, turn - np.sign(turn) * 2 * np.pi):
        angles = begin + np.linspace(0, sweep, max(2, int(abs(sweep) / 0.2) + 1))
        ring = middle + _CIRCLE * np.stack([np.cos(angles), np.sin(angles)], 1)
        ways.append([_inside(point) for point in ring])
    # the shorter way, unless a wall presses it onto the T
    open_ways = [way for way in ways if all(_away(point, block) for point in way)]
    way = (open_ways or ways)[0]
    while len(way) > 1 and _clear(agent, way[1], block):
        way = way[1:]
    while len(way) > 1 and _clear(way[-2], start, block):
        way = way[:-1]
    return [*way, start]


def _steps(agent: np.ndarray, route: list[np.ndarray]) -> list[np.ndarray]:
    """Targets along a route, not farther apart than a step of travel."""
    found, here = [], agent
    for point in route:
        count = max(1, int(np.ceil(np.linalg.norm(point - here) / _TRAVEL)))
        found += [here + (point - here) * part for part in np.arange(1, count + 1) / count]
        here = point
    return found


def _clear(one: np.ndarray, other: np.ndarray, block: np.ndarray) -> bool:
    count = max(2, int(np.linalg.norm(other - one) / 4) + 1)
    return all(_away(one + (other - one) * part, block) for part in np.linspace(0, 1, count))


def _away(point: np.ndarray, block: np.ndarray) -> bool:
    """Whether the disc at `point` does not touch the T."""
    return _distance(_turned(point - block[:2], -block[2])) > _AGENT + _GAP / 2


def _distance(point: np.ndarray) -> float:
    """From the T's outline, in its own coordinates; negative inside."""
    ends = np.roll(_CORNERS, -1, 0)
    sides = ends - _CORNERS
    part = ((point - _CORNERS) * sides).sum(1) / (sides**2).sum(1)
    nearest = _CORNERS + np.clip(part, 0, 1)[:, None] * sides
    least = float(np.linalg.norm(point - nearest, axis=1).min())
    x, y = point
    inside = (abs(x) < 60 and 0 < y < 30) or (abs(x) < 15 and 0 < y < 120)
    return -least if inside else least


def _error(block: np.ndarray) -> float:
    """Mean distance of the T's marks from where they belong [pixels]."""
    here, there = _placed(_MARKS, block), _placed(_MARKS, np.array(_GOAL))
    return float(np.linalg.norm(here - there, axis=1).mean())


def _placed(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    return pose[:2] + _turned(points, pose[2])


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _free(point: np.ndarray) -> bool:
    return bool((point >= _WALL).all() and (point <= _FIELD - _WALL).all())


def _inside(point: np.ndarray) -> np.ndarray:
    return np.clip(point, _WALL, _FIELD - _WALL)
