"""The smallest channel that is still one."""

from __future__ import annotations

SMALL = {
    "grid_x": 8,
    "grid_y": 33,
    "grid_z": 8,
    "keep_x": 4,
    "keep_y": 9,
    "keep_z": 4,
    "frames": 4,
    "dt_frame": 0.5,
    "spin_up": 0.04,
    "dt": 0.03,
}
