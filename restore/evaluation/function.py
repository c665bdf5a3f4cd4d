"""Any function of images as a method: `restore.benchmark(function, "cbsd68_sigma25")`."""

import copy
import hashlib
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from restore import folder as run_folder
from restore.config.compose import composed
from restore.evaluation import evaluate
from restore.evaluation.assignment import is_eight_bit
from restore.evaluation.loop import Row
from restore.evaluation.method import Method
from restore.image import from_uint8, from_unit, to_uint8, to_unit
from restore.recovery.preemption import Interrupted
from restore.types import InputError, Observation

Function = Callable[..., Any]
_FOLDER = "outputs/evaluate/%Y-%m-%d_%H-%M-%S-%f"
_FARTHEST = 1e-4  # beyond a range: rounding, not another range
_SHIFT = 0.3  # of the mean of [-1, 1]: what no restoration does, but [0, 1] in its place


class Measured(NamedTuple):
    """What came out: metric -> mean, a row for each image by index, and the folder of the files."""

    summary: dict[str, float]
    rows: list[Row]
    folder: Path


def benchmark(
    function: Function,
    name: str,
    *overrides: str,
    numpy: bool = False,
    module: nn.Module | None = None,
    method: str | None = None,
    num_calls: int | None = None,
    folder: str | Path | None = None,
) -> Measured:
    """Measures any function on benchmark `name` as evaluate.py measures a checkpoint.

    function: of an Observation, images [B, C, H, W] in [-1, 1], to images of the targets' size in
    [-1, 1]. With numpy: of `image` [H, W, C], uint8 where 8 bits hold it, else float32 in units of
    [0, 1], neither clipped nor rounded (noise goes beyond), and `mask`, uint8 [H, W] with 255 to be
    filled, or None; to uint8, or floats in [0, 1], [H, W, C] or grey [H, W]. It is called once for
    every sample that the benchmark asks for. module: the network in it, which is moved to the
    device, set to evaluation, counted, and named by a hash of its weights; by default the function
    where that is a module. overrides: as of evaluate.py, "baseline=[telea]", "record=true",
    "trainer=gpu". method: its name in tables. num_calls: of its network for a sample. folder: a new
    one, for the files that evaluate.py writes, too.

    Raises:
        InputError: no such benchmark; a function that returns another type, shape or range, or NaN,
            or changes its input. Nothing of it is recorded then, and no folder is left but one
            with results of other methods.
        KeyboardInterrupt: at Ctrl-C, as after an error.
    """
    if not callable(function):
        raise InputError(f"restore.benchmark takes a function, not {type(function).__name__}")
    module = function if module is None and isinstance(function, nn.Module) else module
    called = method or str(getattr(function, "__name__", type(function).__name__)).strip("<>")
    calls = int(module is not None) if num_calls is None else num_calls
    made = Method(
        name=called,
        kind="function",
        restore=Calls(function, called, numpy),
        module=module or nn.Identity(),
        identity=weights_of(function if module is None else module),
        num_calls=calls,
    )
    config = composed("evaluate", [f"benchmark={name}", *overrides])
    place = Path(folder or datetime.now().strftime(_FOLDER)).absolute()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError(f"folder={place} is not empty: name a new one")
    place = run_folder.make(str(place))
    try:
        reports = evaluate.evaluate(config, place, [made])
    except BaseException as error:
        if not (place / "results.csv").exists():
            shutil.rmtree(place, ignore_errors=True)
            run_folder.remove_empty(place)
        if isinstance(error, Interrupted):
            raise KeyboardInterrupt from None
        raise
    own = next(one for one in reports if one.method is made)
    return Measured(own.summary, own.rows, place)


def weights_of(owner: Any) -> str:
    """`weights@` and the start of the SHA-256 of a state dict; "" for what has none."""
    state = getattr(owner, "state_dict", None)
    if not callable(state):
        return ""
    digest = hashlib.sha256()
    for key, value in sorted(state().items()):
        digest.update(str(key).encode())
        if isinstance(value, Tensor):
            numbers = value.detach().cpu().contiguous()
            digest.update(f"{numbers.dtype}{tuple(numbers.shape)}".encode())
            digest.update(numbers.reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr(value).encode())
    return f"weights@{digest.hexdigest()[:12]}"


class Calls:
    """`restore` of a method, around somebody's function; every call is checked."""

    def __init__(self, function: Function, name: str, numpy: bool) -> None:
        self.function, self.name = function, name
        self._call = self._numpy if numpy else self._torch

    def __call__(self, observation: Observation, num_samples: int) -> Tensor:
        """[B, num_samples, C, H, W] in [-1, 1]."""
        # A function may need gradients, which tensors of inference mode never have.
        with torch.inference_mode(False), torch.no_grad():
            return torch.stack([self._call(observation) for _ in range(num_samples)], dim=1)

    def _torch(self, observation: Observation) -> Tensor:
        given, kept = _copied(observation), _copied(observation)
        restored = self.function(given)
        self._check_same(given, kept)
        if not isinstance(restored, Tensor) or not restored.is_floating_point():
            self._refuse(f"a {_kind(restored)}", "return a float tensor [B, C, H, W] in [-1, 1]")
        image = observation["input"]
        if restored.ndim != 4 or len(restored) != len(image):
            self._refuse(f"shape {[*restored.shape]}", f"return [{len(image)}, C, H, W]")
        self._check_range(restored, -1)
        shift = float(restored.mean() - image.mean())
        if restored.min() >= 0 and image.min() < -0.5 and shift > _SHIFT:
            self._refuse("values of [0, 1]", "return images in [-1, 1]")
        return restored.detach().to(image.device)

    def _numpy(self, observation: Observation) -> Tensor:
        image = observation["input"]
        made = []
        for k in range(len(image)):
            given, mask = arrays(
                image[k], observation["hole"][k] if "hole" in observation else None
            )
            kept = given.copy(), None if mask is None else mask.copy()
            restored = self.function(given, mask)
            if not np.array_equal(given, kept[0]):
                raise InputError(f"{self.name} changed its image: give it a copy to work on")
            if mask is not None and not np.array_equal(mask, cast(Any, kept[1])):
                raise InputError(f"{self.name} changed its mask: give it a copy to work on")
            made.append(self._tensor(restored))
        if len({one.shape for one in made}) > 1:
            self._refuse("other shapes from image to image", "return those of the targets")
        return torch.stack(made).to(image.device)

    def _tensor(self, restored: Any) -> Tensor:
        """[C, H, W] in [-1, 1] from what the function made."""
        wanted = "return [H, W, C] as uint8, or as floats in [0, 1]"
        if not isinstance(restored, np.ndarray) or not (
            restored.dtype == np.uint8 or restored.dtype.kind == "f"
        ):
            self._refuse(f"a {_kind(restored)}", wanted)
        if restored.ndim not in (2, 3) or not restored.size:
            self._refuse(f"shape {[*restored.shape]}", wanted)
        restored = restored[..., None] if restored.ndim == 2 else restored
        numbers = torch.from_numpy(np.ascontiguousarray(restored)).permute(2, 0, 1)
        if numbers.dtype == torch.uint8:
            return from_uint8(numbers)
        self._check_range(numbers, 0)
        return from_unit(numbers.float())

    def _check_range(self, restored: Tensor, low: int) -> None:
        if not torch.isfinite(restored).all():
            raise InputError(f"{self.name} returned NaN or infinite values")
        least, most = float(restored.min()), float(restored.max())
        if least < low - _FARTHEST or most > 1 + _FARTHEST:
            self._refuse(f"values from {least:.4g} to {most:.4g}", f"clip them to [{low}, 1]")

    def _check_same(self, given: Observation, kept: Observation) -> None:
        if given.keys() != kept.keys():
            raise InputError(f"{self.name} changed the keys of its observation: leave it as it is")
        for key, value in kept.items():
            now = cast(Any, given)[key]
            same = torch.equal(now, value) if isinstance(value, Tensor) else True
            same = same and (now == value if isinstance(value, list) else True)
            if not same:
                raise InputError(f"{self.name} changed its {key}: give it a copy to work on")

    def _refuse(self, what: str, way_out: str) -> NoReturn:
        raise InputError(f"{self.name} returned {what}: {way_out}")


def _kind(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ if dtype is None else f"{type(value).__name__} of {dtype}"


def _copied(observation: Observation) -> Observation:
    """An observation with tensors and lists of its own, so that nobody else's are changed."""

    def own(value: Any) -> Any:
        return value.clone() if isinstance(value, Tensor) else copy.copy(value)

    return cast(Observation, {key: own(value) for key, value in observation.items()})


def arrays(image: Tensor, hole: Tensor | None) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """What a function of NumPy sees of [C, H, W] in [-1, 1] and of a hole [1, H, W]."""
    inside = None if hole is None else hole[0] > 0.5
    seen = to_uint8(image) if is_eight_bit(image, inside) else to_unit(image.float())
    array = np.ascontiguousarray(seen.permute(1, 2, 0).cpu().numpy())
    return array, None if inside is None else inside.cpu().numpy().astype(np.uint8) * 255
