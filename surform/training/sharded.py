"""Fully sharded training: each process holds a part of the weights, gradients and their state."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning.fabric.utilities.optimizer import _optimizers_to_device
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.optim import Optimizer

from surform.training.shards import gathered, like

__all__ = ["Sharded", "shard"]


class Sharded(DDPStrategy):
    """PyTorch's FSDP2 around the network: `--trainer.strategy fsdp`, on GPUs and on the CPU.

    The weights of each block (the members of the network's module lists) are gathered while the
    block runs, in the forward and again in the backward pass, and given back after it; optimizer
    state and gradients stay in parts. Processes begin with the weights of the first one.

    Checkpoints are those of every other run: one file with whole tensors, written by the first
    process. When training ends the whole weights are put into every process' memory (not the
    GPU's), so that the model is exported, reported on and used as after any training.

    Lightning's own "fsdp" (FSDP1) refuses CPUs, and knows no average of the weights in parts.
    """

    strategy_name = "sharded"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.plain: nn.Module | None = None  # the network without its weights, while it is in parts

    def setup(self, trainer: Trainer) -> None:
        assert self.accelerator is not None
        assert self.model is not None
        task: Any = self.lightning_module
        fitting = trainer.state.fn == TrainerFn.FITTING
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self.model)
        _require_network_only(task)
        if getattr(self.precision_plugin, "scaler", None) is not None:
            raise ValueError(
                "the strategy fsdp does not scale losses, as precision 16-mixed needs it: use "
                "bf16-mixed or 32-true"
            )
        self._agree(task)
        if self.plain is None:
            self._shard(task)
        self.model_to_device()
        if fitting:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()
        if fitting:
            _optimizers_to_device(self.optimizers, self.root_device)

    def on_train_end(self) -> None:
        """Whole weights in every process, as the report and the export want them."""
        task: Any = self.lightning_module
        if self.plain is None:
            return
        state = gathered(task.surrogate.net.state_dict(), keep=True)
        plain, self.plain = self.plain, None
        plain.load_state_dict(state, assign=True)
        plain.train(task.surrogate.net.training)
        task.surrogate.net = plain
        task.cpu()

    # -- checkpoints -----------------------------------------------------------------------

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return gathered(super().lightning_module_state_dict(), self.is_global_zero)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Tensor]:
        return gathered(super().optimizer_state(optimizer), self.is_global_zero)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        task: Any = self.lightning_module
        own = dict(task.named_parameters())
        state = {n: like(v, own[n]) if n in own else v for n, v in checkpoint["state_dict"].items()}
        task.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, stored in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [p for group in optimizer.param_groups for p in group["params"]]
            parts = {
                number: {
                    n: like(v, weights[number]) if isinstance(v, Tensor) else v
                    for n, v in values.items()
                }
                for number, values in stored["state"].items()
            }
            optimizer.load_state_dict(stored | {"state": parts})

    # -- parts -----------------------------------------------------------------------------

    def _agree(self, task: nn.Module) -> None:
        """Give every process the first one's weights and buffers, tensor by tensor."""
        if self.plain is not None or self.world_size == 1:
            return
        with torch.no_grad():
            for tensor in (*task.parameters(), *task.buffers()):
                sent = tensor.detach().to(self.root_device).contiguous()
                distributed.broadcast(sent, 0)
                tensor.copy_(sent)

    def _shard(self, task: Any) -> None:
        net = task.surrogate.net
        empty = {
            id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in net.parameters()
        }
        self.plain = copy.deepcopy(net, empty)  # type: ignore[arg-type]
        shard(net, init_device_mesh(self.root_device.type, (self.world_size,)))


def shard(net: nn.Module, mesh: DeviceMesh) -> None:
    """Spread the weights of each block, and the rest of them, over the processes of a mesh."""
    # where nothing is written into what a block returns, a view does no harm
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    for block in _blocks(net):
        # weights that stay gathered after a forward pass would hide what the average writes
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(net, mesh=mesh, reshard_after_forward=True)
    if hasattr(net, "forecast_and_penalty"):
        register_fsdp_forward_method(net, "forecast_and_penalty")


def _blocks(net: nn.Module) -> list[nn.Module]:
    """The members of the outermost module lists that have weights and a forward pass."""
    found: list[nn.Module] = []
    for child in net.children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            members = child.values() if isinstance(child, nn.ModuleDict) else child
            for member in members:
                runs = type(member).forward is not nn.Module.forward  # not a list of its own
                weighs = any(True for _ in member.parameters())
                found += [member] if runs and weighs else _blocks(member)
        else:
            found += _blocks(child)
    return found


def _require_network_only(task: Any) -> None:
    net = {id(p) for p in task.surrogate.net.parameters()}
    for name, weight in task.named_parameters():
        if id(weight) not in net and weight.requires_grad:
            raise ValueError(
                f"the strategy fsdp shards the network, but {name} is trained beside it: use ddp"
            )
