"""Meta-World: a Sawyer arm at a table, one of fifty tasks, from its state or from pictures."""

from __future__ import annotations

import atexit
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from surform.data.environments.off_screen import draw_off_screen, load_triton_first
from surform.data.environments.spaces import Box, Dict
from surform.data.extras import require_extra
from surform.data.faults import closest

__all__ = ["MT10", "MetaWorld"]

# the ten tasks of the benchmark MT10
MT10 = (
    "reach-v3", "push-v3", "pick-place-v3", "door-open-v3", "drawer-open-v3", "drawer-close-v3",
    "button-press-topdown-v3", "peg-insert-side-v3", "window-open-v3", "window-close-v3",
)  # fmt: skip

_INSTRUCTIONS = {
    "reach-v3": "reach the goal position",
    "push-v3": "push the puck to the goal",
    "pick-place-v3": "pick up the puck and place it at the goal",
    "door-open-v3": "open the door",
    "drawer-open-v3": "open the drawer",
    "drawer-close-v3": "close the drawer",
    "button-press-topdown-v3": "press the button from above",
    "peg-insert-side-v3": "insert the peg sideways",
    "window-open-v3": "open the window",
    "window-close-v3": "close the window",
}
_UPSIDE_DOWN = ("corner", "corner2", "corner3")  # cameras that hang so
_STATE = 39
_LARGEST = 480  # pixels of a side: what the models' buffers hold


class MetaWorld:
    """One task of Meta-World (Yu et al., 2019, arXiv 1910.10897), version 3, with the goal shown.

    Observations: `state` (39,), the hand, the gripper, the objects, the same of the step before,
    and the goal; with `image_size` also `image` (size, size, 3) uint8, upright. Actions (4,) in
    [-1, 1] move the hand and close the gripper. Every reset draws other places. An episode is
    truncated after 500 steps; success does not end it. Pictures are drawn without shadows,
    reflections and multisampling, which make software OpenGL fifty times as fast.

    Args:
        task: "reach-v3", "push-v3", ...
        image_size: side of the picture [pixels]; None: no picture is observed, nor OpenGL needed.
        camera: of pictures: "corner2", "corner", "corner3", "topview", "behindGripper", ...
        render_mode: "rgb_array" where `render` is used, which needs OpenGL; None: it is not.
        render_size: side of what `render` gives [pixels].

    Raises:
        ImportError: without surform[simulators].
        ValueError: no such task or camera, or a size that cannot be.
        OSError: pictures are asked for where there is no OpenGL.
    """

    TASKS = MT10
    metadata: Mapping[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 80}

    def __init__(
        self,
        task: str = "reach-v3",
        image_size: int | None = None,
        camera: str = "corner2",
        render_mode: str | None = None,
        render_size: int = 240,
    ) -> None:
        for name, size in (("image_size", image_size), ("render_size", render_size)):
            if size is not None and not 16 <= size <= _LARGEST:
                raise ValueError(f"{name} is {size}, but must lie between 16 and {_LARGEST}")
        load_triton_first()
        if image_size is not None or render_mode is not None:
            draw_off_screen()
        known = require_extra("metaworld.env_dict", "simulators", "Meta-World").ALL_V3_ENVIRONMENTS
        if task not in known:
            raise ValueError(f"Meta-World has no task {task!r}: {closest(task, known)}")
        self.task, self.image_size, self.camera = task, image_size, camera
        self.render_mode, self.render_size = render_mode, render_size
        self.instruction = _INSTRUCTIONS.get(task, task.removesuffix("-v3").replace("-", " "))
        self._world = _with_goal(known[task])
        cameras = [self._world.model.camera(i).name for i in range(self._world.model.ncam)]
        if camera not in cameras:
            raise ValueError(f"Meta-World has no camera {camera!r}: {closest(camera, cameras)}")
        self.action_space = Box(-1, 1, (4,))
        seen = {"state": Box(-np.inf, np.inf, (_STATE,))}
        if image_size is not None:
            seen["image"] = Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = Dict(seen)
        self._renderers: dict[int, Any] = {}

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """A new episode with places of its own, a function of the seed."""
        if seed is None:
            seed = int(np.random.default_rng().integers(2**31))
        self._world.seed(seed)
        state, _ = self._world.reset()
        return self._observation(state), {"success": False}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Move; what is beyond [-1, 1] is cut off."""
        action = np.clip(np.asarray(action, np.float32), -1, 1)
        state, reward, ended, late, info = self._world.step(action)
        told = {"success": bool(info["success"] > 0.5)}
        return self._observation(state), float(reward), bool(ended), bool(late), told

    def render(self) -> np.ndarray:
        """A picture (render_size, render_size, 3) uint8, upright."""
        if self.render_mode is None:
            raise ValueError("it was opened without render_mode='rgb_array'")
        return self._picture(self.render_size)

    def expert(self) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
        """The scripted policy that Meta-World brings for the task."""
        import metaworld.policies  # pyright: ignore[reportMissingImports]

        policy = metaworld.policies.ENV_POLICY_MAP[self.task]()

        def act(observation: Mapping[str, np.ndarray]) -> np.ndarray:
            state = observation["state"].astype(np.float64)
            with warnings.catch_warnings(action="ignore"):  # that it is clipped
                return np.clip(policy.get_action(state), -1, 1)

        return act

    def close(self) -> None:
        """Free what draws."""
        while self._renderers:
            _, renderer = self._renderers.popitem()
            atexit.unregister(renderer.close)
            renderer.close()

    def _observation(self, state: np.ndarray) -> dict[str, np.ndarray]:
        seen = {"state": state.astype(np.float32)}
        if self.image_size is not None:
            seen["image"] = self._picture(self.image_size)
        return seen

    def _picture(self, size: int) -> np.ndarray:
        if size not in self._renderers:
            self._renderers[size] = _renderer(self._world.model, size)
        renderer = self._renderers[size]
        renderer.update_scene(self._world.data, camera=self.camera)
        picture = renderer.render()
        return picture[::-1, ::-1].copy() if self.camera in _UPSIDE_DOWN else picture


def _with_goal(kind: Any) -> Any:
    """The task's world, with the goal in its state, and places drawn anew at every reset."""
    world = kind()
    world._partially_observable = False
    del world.sawyer_observation_space  # it is remembered, without the goal
    world._freeze_rand_vec, world.seeded_rand_vec = False, True
    world._set_task_called = True
    return world


def _renderer(model: Any, size: int) -> Any:
    mujoco: Any = importlib.import_module("mujoco")
    # both are read when the buffers are made
    model.vis.quality.offsamples, model.vis.quality.shadowsize = 0, 0
    renderer = mujoco.Renderer(model, size, size)
    atexit.register(renderer.close)  # before the display ends, else it complains
    flags = renderer.scene.flags
    flags[mujoco.mjtRndFlag.mjRND_SHADOW] = flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    return renderer
