"""A task of one network call as one ONNX file, for any number of images of any size."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim

from restore.evaluation.method import Method, for_every_sample
from restore.network.push_pull import OPERATOR
from restore.network.size import at_any_size
from restore.task.restoration import RestorationTask
from restore.types import InputError, Observation

FILE = "model.onnx"
FILES = (FILE, "model.onnx.json")
_LEAST = 16  # px of a side
_SIZE = (32, 48)  # of the example that is traced
_APART = 1e-3  # of [-1, 1]; rounding stays a tenth of that
_UNITS = {
    "input": "degraded image [batch, channels, height, width] in [-1, 1]",
    "hole": "[batch, 1, height, width], 1 = to be filled, where input is 0",
    "sigma": "noise level [batch], grey levels of 255 / 127.5",
    "restored": "[batch, channels, height, width] in [-1, 1], not clipped",
}


class _Graph(nn.Module):
    """The task's own `restore`, of tensors in the place of an observation."""

    def __init__(self, task: RestorationTask, names: list[str]) -> None:
        super().__init__()
        self.task, self.names = task, names

    def forward(self, *given: Tensor) -> Tensor:
        index = torch.zeros(1, dtype=torch.int64)
        seen: dict[str, Any] = {"index": index, "name": []}
        seen |= dict(zip(self.names, given, strict=True))
        return self.task.restore(cast(Observation, seen))[:, 0]


def write(task: RestorationTask, folder: Path, size: tuple[int, int] | None = None) -> Path:
    """Exports the graph; its inputs are input and, where they are seen, hole and sigma.

    size: height and width of all images, for a runtime that wants to know them; None is any size.

    Raises:
        InputError: a task with a sampler, a graph that cannot be exported, or no package onnx.
    """
    if hasattr(task, "sampler"):
        raise InputError(
            f"--format onnx: {type(task).__name__} draws by a sampler in {task.num_calls} calls, "
            "and one graph is one call: use --format bundle, or of a plain prior diffusers"
        )
    _check_packages()
    path = folder / FILE
    try:
        given = _exported(task, path, size)
    except OSError:  # a full disk says nothing of the network
        raise
    except Exception as error:  # of any part of the exporter
        some, way = ("every", "name one by --size WxH, or") if size is None else ("this", "")
        raise InputError(
            f"--format onnx: the network of {type(task).__name__} has no graph for {some} size "
            f"({_reason(error)}): {way} use --format bundle"
        ) from error
    _check(task, path, size)
    said = {key: one for key, one in _UNITS.items() if key in given or key == "restored"}
    if size is not None:
        said["size"] = f"all images have a height of {size[0]} and a width of {size[1]} px"
    (folder / FILES[1]).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return path


def _check(task: RestorationTask, path: Path, size: tuple[int, int] | None) -> None:
    """Compares graph and task: what an example of one size led past is in no graph for all sizes.

    Raises:
        InputError: sizes for which they differ.
    """
    run = method(task, path, {"experiment": ""}).restore
    # Smaller than the example, and larger than it, than all images of the training, and than what a
    # colorizer sees of them.
    seen = task.facts.image_size, getattr(task, "size", None)
    side = max(120, *((one or 0) * 3 // 2 for one in seen))
    for height, width in [(33, 18), (side * 2 // 3, side)] if size is None else [size]:
        given: Any = {**_example(task, (height, width)), "index": torch.zeros(2).long(), "name": []}
        noise = torch.rand(given["input"].shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        given["input"] = noise * (1 - given.get("hole", 0.0))
        with torch.no_grad():
            made = at_any_size(task.network, given["input"], partial(task.restore, given))
            apart = float((run(given, 1) - made).abs().max())
        if not apart < _APART:
            raise InputError(
                f"--format onnx: the graph of {type(task).__name__} is another function at "
                f"{width}x{height} px (by {apart:.2g}): name your size by --size WxH, or use "
                "--format bundle"
            )


def _exported(task: RestorationTask, path: Path, size: tuple[int, int] | None) -> list[str]:
    """Writes the graph; the names of its inputs."""
    from restore.export import onnx_fill

    given = _example(task, size or _SIZE)
    batch = Dim("batch")
    sides = {2: "height", 3: "width"} if size is None else {}
    free = {axis: Dim(name, min=_LEAST, max=onnx_fill.MOST) for axis, name in sides.items()}
    axes = tuple({0: batch, **(free if one.ndim == 4 else {})} for one in given.values())
    graph, inputs = _Graph(task, [*given]).eval(), tuple(given.values())
    with _quiet():
        program = torch.onnx.export(
            graph,
            inputs,
            dynamo=True,
            dynamic_shapes=(axes,),
            input_names=[*given],
            output_names=["restored"],
            custom_translation_table={OPERATOR: onnx_fill.push_pull},
            verbose=False,
        )
        assert program is not None
        program.save(str(path), external_data=False)
    return [*given]


def _reason(error: BaseException) -> str:
    """The network's own refusal, which the exporter hides behind its errors, or the first line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}".split("\n")[0]


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--format onnx needs {error.name}: pip install 'restore[export]'"
        ) from None


def _example(task: RestorationTask, size: tuple[int, int]) -> dict[str, Tensor]:
    height, width = size
    image = torch.linspace(-1, 1, height * width).view(1, 1, height, width)
    given = {"input": image.repeat(2, task.facts.input_channels, 1, 1)}
    probe = Observation(input=given["input"], index=torch.zeros(2, dtype=torch.int64), name=[])
    try:
        task.check_observation(probe)
    except InputError:
        given["hole"] = (image.repeat(2, 1, 1, 1) > 0).float()
        given["input"] = given["input"] * (1 - given["hole"])
    if task.needs_sigma:
        given["sigma"] = torch.full((2,), 0.2)
    return given


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress and its remarks on torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def method(task: RestorationTask, path: Path, content: Mapping[str, Any]) -> Method:
    """What the file does, by onnxruntime alone, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    sides = session.get_inputs()[0].shape[2:]  # whole numbers in a graph of one size

    def check(observation: Observation) -> None:
        task.check_observation(observation)
        height, width = found = [*observation["input"].shape[2:]]
        if all(isinstance(side, int) for side in sides) and found != sides:
            raise InputError(
                f"the graph is for images of {sides[1]}x{sides[0]} px and the benchmark's have "
                f"{width}x{height}: give --size {width}x{height}, or --check another benchmark"
            )

    def restore(observation: Observation) -> Tensor:
        check(observation)
        given = {key: cast(Any, observation)[key].float().cpu().numpy() for key in names}
        return torch.from_numpy(session.run(None, given)[0])

    return Method(
        name=str(content["experiment"]),
        kind="model",
        restore=for_every_sample(restore),
        check=check,
        checkpoint=str(path),
        num_calls=1,
    )
