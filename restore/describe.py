"""`restore describe`: the layers of a network, as they run.

Importing this module must stay instant.
"""

import argparse
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from restore.errors import DONE
from restore.types import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

Config = dict[str, Any]
ABOUT = "the layers of a network: kernels, strides, channels, sizes, parameters"
EXAMPLES = """examples:
  restore describe network=inpainting
  restore describe network=colorization --size 64
  restore describe network=unet_classic task.network.widths=[64,128,256]
  restore describe experiment=ddpm_mnist_masked --size 28"""
_TITLES = ("layer", "kind", "kernel", "stride", "dilation", "channels", "output", "parameters")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="+", help="as of train.py")
    parser.add_argument(
        "--size", metavar="PX", type=int, default=256, help="side of the image (default: 256)"
    )
    parser.set_defaults(command=lambda given: show(given.overrides, given.size))


def show(overrides: Sequence[str], size: int) -> int:
    """Prints a table of Markdown. InputError for a network that cannot be built or run."""
    print(markdown(*describe(overrides, size), size), end="")
    return DONE


def markdown(layers: "Sequence[Layer]", total: int, size: int) -> str:
    """The table of `describe`, and a line of what all layers have."""
    rows = [_TITLES, tuple("---" for _ in _TITLES), *(layer.cells() for layer in layers)]
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"{lines}\n{total:,} parameters in {len(layers)} layers, for an image of {size} px\n"


@dataclass(frozen=True)
class Layer:
    """A module with weights of its own, in the order in which they first run."""

    name: str
    kind: str
    kernel: str
    stride: str
    dilation: str
    channels: str
    output: str
    parameters: int

    def cells(self) -> tuple[str, ...]:
        return (
            *(self.name, self.kind, self.kernel, self.stride, self.dilation, self.channels),
            *(self.output, f"{self.parameters:,}"),
        )


def describe(overrides: Sequence[str], size: int = 256) -> tuple[list[Layer], int]:
    """The layers of a network, and the number of its parameters.

    Where the overrides name an experiment, the network is the one that its training builds, and the
    files of its data need not be here. Otherwise the network has three channels in and out.

    size: side of the image [1, C, size, size] that it is run on.

    Raises:
        InputError: a size below 1, or a network that cannot be built or run on it.
    """
    import torch

    from restore.config import command
    from restore.config.compose import composed

    if size < 1:
        raise InputError(f"--size {size} must be at least 1, the side of the image in px")
    config = composed("train", command.spell(list(overrides)))
    trains = any(one.startswith("experiment=") for one in overrides)
    network, run = (_trained if trains else _alone)(config, size)
    rows: list[Layer] = []
    seen: set[str] = set()
    hooks = [
        module.register_forward_hook(_noting(name, rows, seen), with_kwargs=True)
        for name, module in network.named_modules()
        if list(module.parameters(recurse=False))
    ]
    try:
        with torch.inference_mode():
            run()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--size {size}: the network cannot run on that: {reason}") from error
    for hook in hooks:
        hook.remove()
    return rows, sum(parameter.numel() for parameter in network.parameters())


def _trained(config: Config, size: int) -> "tuple[nn.Module, Callable[[], object]]":
    """The network that a training builds, and a call of its losses for a black image.

    No file of the data is read.
    """
    import torch

    from restore.build import build
    from restore.config.trust import Trust
    from restore.data.source import Item
    from restore.data.split import one
    from restore.task.dry import logged_in_training

    node, trust = config["task"], Trust.of(config)
    # A perceptual loss changes no layer, and published weights that it compares by may be missing.
    if "perceptual" in (node.get("loss") or {}):
        node = {**node, "loss": {**node["loss"], "perceptual": None}}
    data = build(config["data"], "data", trust=trust)
    facts = data.facts
    task = build(node, "task", trust=trust, facts=facts)
    black = torch.zeros(facts.image_channels, size, size, dtype=torch.uint8)
    raw = one(Item(black, None if facts.num_classes is None else 0, "black"), 0, 0)
    return task.network, lambda: logged_in_training(task, data.to_batch(raw))


def _alone(config: Config, size: int) -> "tuple[nn.Module, Callable[[], object]]":
    """The network by itself, for images of three channels, and a call of it."""
    from restore.build import build
    from restore.config.target import resolve
    from restore.config.trust import Trust

    named = config["task"].get("network")
    if not isinstance(named, dict) or "_target_" not in named:
        raise InputError(f"task.network={named} has no layers: choose it by network=NAME")
    node = {key: value for key, value in named.items() if key != "_partial_"}
    known = {"in_channels": 3, "out_channels": 3, "image_channels": 3, "image_size": size}
    trust = Trust.of(config)
    taken = inspect.signature(resolve(node["_target_"], "task.network", trust)).parameters
    own = {key: value for key, value in known.items() if key in taken and key not in node}
    if "num_classes" in taken and taken["num_classes"].default is inspect.Parameter.empty:
        own["num_classes"] = 10
    made: nn.Module = build(node, "task.network", trust=trust, **own)
    given = {name: _argument(name, size) for name in inspect.signature(made.forward).parameters}
    return made, lambda: made.eval()(**given)


def _argument(name: str, size: int) -> "Tensor | None":
    """What a network is called with, by the name that it has there."""
    import torch

    if name in ("t", "sigma"):
        return torch.full((1,), 0.5)
    if name in ("label", "noise"):
        return None
    channels = {"hole": 1, "lightness": 1}.get(name, 3)
    return torch.zeros(1, channels, size, size)


def _noting(name: str, rows: list[Layer], seen: set[str]) -> Any:
    def note(module: "nn.Module", inputs: Any, named: dict[str, Any], output: Any) -> None:
        if name in seen:
            return
        seen.add(name)
        first = [*inputs, *named.values()][0]  # by name where it is the whole network
        last = output[-1] if isinstance(output, tuple) else output
        kernel, stride, dilation = (
            "x".join(map(str, value)) if isinstance(value, tuple) else ""
            for value in (
                getattr(module, key, None) for key in ("kernel_size", "stride", "dilation")
            )
        )
        count = sum(one.numel() for one in module.parameters(recurse=False))
        sizes = first.shape[1], last.shape[1]
        channels = f"{sizes[0]} to {sizes[1]}" if sizes[0] != sizes[1] else str(sizes[0])
        place = "x".join(map(str, last.shape[2:])) or "vector"
        kind = type(module).__name__.removeprefix("Parametrized")
        rows.append(Layer(name, kind, kernel, stride, dilation, channels, place, count))

    return note
