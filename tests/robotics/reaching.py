"""A policy for point-reach that needs no training: it goes where it is told."""

from __future__ import annotations

import torch

COLORS = ("red", "green", "blue")


class Reaching:
    """Chunks of equal actions straight to the disc of the instruction, with noise.

    Args:
        chunk: actions of it. noise: standard deviation, drawn by torch.
    """

    def __init__(self, chunk: int = 4, noise: float = 0.0) -> None:
        self.chunk, self.noise = chunk, noise
        self.asked: list[str] = []

    def start(self, batch):
        self.asked.append("start")
        return torch.zeros(batch)

    def observe(self, observation, memory):
        self.asked.append("observe")
        return memory + 1

    def act(self, observation, memory):
        self.asked.append("act")
        state = observation["state"]
        colors = [COLORS.index(text.split()[3]) for text in observation["instruction"]]
        rows = torch.arange(len(state))
        goal = state[:, 2:].unflatten(1, (3, 2))[rows, torch.tensor(colors)]
        action = ((goal - state[:, :2]) / 0.1).clamp(-1, 1)
        chunk = action[:, None].expand(-1, self.chunk, -1)
        return chunk + self.noise * torch.randn_like(chunk), memory + 1
