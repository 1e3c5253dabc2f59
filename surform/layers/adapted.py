"""A registered transformer with adapters at its branches: parameter-efficient fine-tuning.

Cappellazzo et al., 2023 (arXiv 2312.03694) and 2024 (arXiv 2402.00828); official code
umbertocappellazzo/PETL_AST@1fe23af5d2cf. The mechanism suits every network whose blocks have the
branches `attention` and `feed_forward` behind norms: AST, PaSST, ViTPose, ViTPose+, ViT-Lite, CVT,
CCT.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.adapter_mixtures import DenseMixture, Normalize, SoftMixture
from surform.layers.adapters import ADAPTERS, AdapterKind, make_adapter
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, one_of
from surform.registry import create_model, find

__all__ = ["Adapted", "BlockAdapters", "Mixture", "Placement", "blocks_of"]

Mixture = Literal["soft", "dense", "none"]
Placement = Literal["attention", "feed_forward", "both"]
_MIXTURES, _PLACEMENTS = ("soft", "dense", "none"), ("attention", "feed_forward", "both")
# the norms whose output a branch, and so its adapter, reads
_FEEDING = {"attention": ("norm1", "pre_norm"), "feed_forward": ("norm2", "norm")}
# what follows the blocks, by the names that networks give it
_TAIL = re.compile(r"(.*\.)?(norm|heads?|head_norm|representation|pool)(\.|$)")
_SIZES = ("num_classes", "frames", "mel_bins", "in_channels", "image_size", "joints")


class Adapted(nn.Module):
    """A network whose own weights stay, and small modules that learn; inputs and outputs as its.

    Cappellazzo et al., "Efficient Fine-tuning of Audio Spectrogram Transformers via Soft Mixture of
    Adapters" (Interspeech 2024), arXiv 2402.00828.

    Trained are the adapters, the norms that feed them, and what follows the blocks: the last norm
    and the head. Everything else is frozen and stays in evaluation mode, so that nothing is dropped
    there. New adapters change nothing: the network begins as what it was. Only sequential ones
    without `add_input`, which stand in the place of a branch's output, begin by silencing it.

    Args:
        base: name of the registered network.
        options: its arguments, beside the sizes below.
        mixture: "soft" (Soft-MoA), "dense" (Dense-MoA) or "none": single adapters.
        adapter: "bottleneck", "convpass" or "conformer" (single ones only).
        at: branches that have adapters: "attention", "feed_forward" or "both". The papers call one
            of them Pfeiffer, both Houlsby.
        reduction: the adapters are dim / reduction wide.
        count: adapters of a mixture.
        slots: of each adapter of a soft mixture.
        sequential: adapters read a branch's output instead of its input; single ones only.
        add_input: the branch's normed input (parallel) or output (sequential) is added once more.
        normalize: of soft mixtures, see `SoftMixture`.
        double_add: a mixture at the attention alone is added once more after the feed-forward
            branch, as the official code does; False is the paper's equation.
        apply_conv: of convpass; apply_norm, kernel_size: of conformer; legacy_zero: of bottleneck.
        num_classes, frames, mel_bins, in_channels, image_size, joints: arguments of `base`, where
            it has them. In configurations null, or nothing, stands for what the data give.
    """

    from_data: ClassVar[tuple[str, ...]] = _SIZES

    @record_arguments
    def __init__(
        self,
        base: str = "ast",
        options: dict[str, Any] | None = None,
        *,
        mixture: Mixture = "soft",
        adapter: AdapterKind = "bottleneck",
        at: Placement = "attention",
        reduction: float = 128.0,
        count: int = 7,
        slots: int = 1,
        sequential: bool = False,
        add_input: bool = False,
        normalize: Normalize = "no",
        double_add: bool = True,
        apply_conv: bool = False,
        apply_norm: bool = False,
        kernel_size: int = 31,
        legacy_zero: bool = False,
        num_classes: int | None = None,
        frames: int | None = None,
        mel_bins: int | None = None,
        in_channels: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        joints: int | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        one_of("mixture", mixture, _MIXTURES)
        one_of("adapter", adapter, ADAPTERS)
        one_of("at", at, _PLACEMENTS)
        at_least(1, count=count, slots=slots)
        _check(mixture, adapter, sequential, add_input, apply_conv)
        given = (num_classes, frames, mel_bins, in_channels, image_size, joints)
        sizes: dict[str, Any] = dict(zip(_SIZES, given, strict=True))
        self.net = _built(base, sizes, options or {})
        self.blocks = [block for _, block in blocks_of(self.net)]  # not registered twice
        if not self.blocks:
            raise ValueError(
                f"{base} has no blocks with the branches attention and feed_forward: adapters have "
                "no place in it"
            )
        if not hasattr(self.blocks[0].attention, "qkv"):
            raise ValueError(
                f"the attention of {base} has no common map of queries, keys and values: adapters "
                "have no place in it"
            )
        dim = self.blocks[0].attention.qkv.in_features
        hidden = round(dim / reduction) if reduction > 0 else 0
        if hidden < 1:
            raise ValueError(
                f"reduction is {reduction:g}, which leaves no channel of dim = {dim} to adapters"
            )
        kinds = {"apply_conv": apply_conv, "apply_norm": apply_norm, "kernel_size": kernel_size}
        make = functools.partial(
            make_adapter, adapter, dim, hidden, legacy_zero=legacy_zero, **kinds
        )
        self.adapters = nn.ModuleList()
        for block in self.blocks:
            made = {
                branch: _mixed(mixture, make, dim, count, slots, normalize)
                for branch in _FEEDING
                if at in (branch, "both")
            }
            twice = double_add and mixture != "none" and at == "attention"
            added = BlockAdapters(made, sequential, add_input, twice)
            added.hook(block)
            self.adapters.append(added)
        self._freeze()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.net(*inputs, **named)

    def features(self, *inputs: Any, **named: Any) -> Float[Tensor, "b n c"]:
        """What the network's own `features` gives."""
        return self.net.features(*inputs, **named)  # type: ignore[operator]

    def train(self, mode: bool = True) -> Adapted:
        """Adapters and what follows the blocks as asked; what is frozen stays in evaluation."""
        super().train(mode)
        for name, module in self.net.named_modules():
            if _TAIL.match(name) is None or _in_blocks(name):
                module.training = False
        return self

    def trained_names(self) -> list[str]:
        """Names in the state dict of what is trained: what a file of adapters holds."""
        state = self.state_dict()
        learned = {name for name, weight in self.named_parameters() if weight.requires_grad}
        own = {name for name in state if name.startswith("adapters.")}
        running = ("running_mean", "running_var", "num_batches_tracked")
        tail = {n for n in state if n.rpartition(".")[2] in running and _is_tail(n)}
        return [name for name in state if name in learned | own | tail]

    def adapted(self, state: dict[str, Tensor], source: Any) -> dict[str, Tensor]:
        """A network's state dict under the names here, its sizes adapted; adapters as they are."""
        own: dict[str, Tensor] = {}
        if isinstance(source, Adapted):
            own = {name: value for name, value in state.items() if name.startswith("adapters.")}
            state = {n.removeprefix("net."): v for n, v in state.items() if n.startswith("net.")}
            source = source.net
        adapt = getattr(self.net, "adapted", None)
        fitted = state if adapt is None else adapt(state, source)
        return {f"net.{name}": value for name, value in fitted.items()} | own

    def _freeze(self) -> None:
        self.net.requires_grad_(False)
        for name, weight in self.net.named_parameters():
            weight.requires_grad_(_is_tail(f"net.{name}"))
        for block, added in zip(self.blocks, self.adapters.children(), strict=True):
            for branch in dict(added.named_children()):
                _norm(block, branch).requires_grad_(True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Adapted:
        # hooks of a copy must be those of its own adapters: it is built and filled anew
        cls = type(self)
        other = cls(**self.__dict__["arguments"])
        memo[id(self)] = other
        weight = next(self.parameters())
        other.to(device=weight.device, dtype=weight.dtype)
        other.load_state_dict(self.state_dict())
        return other.train(self.training)


class BlockAdapters(nn.Module):
    """The adapters of one block, which add to what its branches give.

    Args:
        made: a module for each branch that has one.
        sequential, add_input, twice: as for `Adapted`; `twice` is double_add.
    """

    def __init__(
        self, made: dict[str, nn.Module], sequential: bool, add_input: bool, twice: bool
    ) -> None:
        super().__init__()
        self.branches = tuple(made)
        self.sequential, self.add_input, self.twice = sequential, add_input, twice
        for branch, module in made.items():
            self.add_module(branch, module)
        self._last: Tensor | None = None

    def hook(self, block: nn.Module) -> None:
        """Stand at the branches of a block."""
        for branch in self.branches:
            place = functools.partial(self._at_branch, branch)
            block.get_submodule(branch).register_forward_hook(place)
        if self.twice:
            block.register_forward_hook(self._after_block)

    def _at_branch(self, branch: str, _: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
        x = out if self.sequential else given[0]
        added = self.get_submodule(branch)(x)
        if self.twice:
            self._last = added
        if self.sequential:
            return added + out if self.add_input else added
        return out + added + x if self.add_input else out + added

    def _after_block(self, _: nn.Module, __: Any, out: Tensor) -> Tensor:
        last, self._last = self._last, None
        return out if last is None else out + last


def blocks_of(net: nn.Module) -> Iterator[tuple[str, Any]]:
    """(name, block) of the blocks of a network that have both branches."""
    for name, module in net.named_modules():
        if all(hasattr(module, branch) for branch in _FEEDING):
            yield name, module


def _norm(block: nn.Module, branch: str) -> nn.Module:
    for name in _FEEDING[branch]:
        if isinstance(getattr(block, name, None), nn.Module):
            return getattr(block, name)
    raise ValueError(f"a {type(block).__name__} has no norm before its {branch}: see _FEEDING")


def _in_blocks(name: str) -> bool:
    return "blocks." in name or name.endswith("blocks")


def _is_tail(name: str) -> bool:
    """Whether something of `net` follows the blocks."""
    inside = name.removeprefix("net.")
    return name.startswith("net.") and not _in_blocks(inside) and bool(_TAIL.match(inside))


def _mixed(
    mixture: Mixture, make: Any, dim: int, count: int, slots: int, normalize: Normalize
) -> nn.Module:
    if mixture == "soft":
        return SoftMixture(make, dim, count, slots, normalize=normalize)
    return DenseMixture(make, dim, count) if mixture == "dense" else make()


def _check(
    mixture: Mixture, adapter: AdapterKind, sequential: bool, add_input: bool, apply_conv: bool
) -> None:
    """ValueError for combinations that there are not."""
    if mixture == "none":
        return
    if adapter == "conformer":
        raise ValueError("adapter is 'conformer', which mixtures do not take: set mixture to none")
    if sequential or add_input:
        name = "sequential" if sequential else "add_input"
        raise ValueError(f"{name} is for single adapters: set mixture to none")
    if mixture == "soft" and apply_conv:
        raise ValueError("apply_conv would convolve over slots, which have no order: leave it out")


def _built(base: str, sizes: dict[str, Any], options: dict[str, Any]) -> nn.Module:
    taken = inspect.signature(find("models", base)).parameters
    for name in options:
        if name not in taken:
            near = difflib.get_close_matches(name, taken, n=1)
            hint = f"did you mean {near[0]}?" if near else f"valid are {', '.join(taken)}"
            raise ValueError(f"options: {base} takes no option {name!r}: {hint}")
    given = {name: value for name, value in sizes.items() if name in taken and value is not None}
    return create_model(base, **{**options, **given})
