"""A folder of results that somebody else's program has written, as a method."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import UnidentifiedImageError
from torch import Tensor

from restore.data.deep_file import words_of
from restore.data.image_file import opened
from restore.evaluation import assignment
from restore.evaluation.assignment import INPUTS, MASKS, OUTPUTS, Manifest
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.method import NO_SAMPLING, Method, SamplingRecord, for_every_sample
from restore.image import from_uint8, from_unit, to_uint8
from restore.types import InputError, Observation

EXACT, LOSSY = (".png", ".npy"), (".jpg", ".jpeg", ".webp")


class Outputs:
    """The files in DIR/outputs, named as the inputs of `restore task BENCHMARK DIR`.

    composite: puts the known pixels of the input back before anything is measured. lossy: takes
    JPEG and WebP, too. All files are read when this is made.

    Raises:
        InputError: another benchmark or task, inputs that changed, files that are missing, too
            many, of another size, channel count, depth or range, or not finite; known pixels to be
            put back that no input has.
    """

    def __init__(
        self, benchmark: Benchmark, folder: Path, composite: bool = False, lossy: bool = False
    ) -> None:
        self.folder, self.composite = folder, composite
        self.manifest = assignment.read(folder)
        _check_task(self.manifest, benchmark, folder)
        self.paths = _paths(self.manifest, folder, (*EXACT, *LOSSY) if lossy else EXACT)
        self.moved, self.largest = 0, 0.0  # images whose known pixels moved; grey levels of 255
        for number in range(self.manifest.n):
            self._check(number)

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers must know."""
        if not self.moved:
            return []
        done = "put back before measuring" if self.composite else "measured as they are"
        return [
            f"{self.folder}: known pixels moved in {self.moved} of {self.manifest.n} images, by "
            f"{self.largest:.4g} of 255 at most; {done}"
        ]

    def __call__(self, observation: Observation) -> Tensor:
        """[B, C, H, W] in [-1, 1]."""
        image = observation["input"]
        for k, index in enumerate(observation["index"].tolist()):
            self._check_name(index, observation["name"][k])
        read = [self._read(index) for index in observation["index"].tolist()]
        restored = torch.stack(read).to(image.device)
        if self.composite and "hole" in observation:
            restored = torch.where(observation["hole"] > 0.5, restored, image)
        return restored

    def method(self, name: str) -> Method:
        """The outputs as a method, whose row says how they were treated."""
        lossy = any(path.suffix.lower() in LOSSY for path in self.paths)
        said = [word for word, is_so in (("composited", self.composite), ("lossy", lossy)) if is_so]
        return Method(
            name=name,
            kind="outputs",
            restore=for_every_sample(self),
            checkpoint=str(self.folder / OUTPUTS),
            sampling=SamplingRecord(" ".join(said)) if said else NO_SAMPLING,
        )

    def _check_name(self, number: int, name: str) -> None:
        said = self.manifest.images[number]["name"]
        if said != name:
            raise InputError(
                f"{self.folder} is of other photos: its input {number} was {said} and the "
                f"benchmark's is {name}; name the same photos, or write it anew by restore task"
            )

    def _read(self, number: int) -> Tensor:
        """[C, H, W] in [-1, 1]."""
        path, channels = self.paths[number], self.manifest.channels
        if path.suffix.lower() == ".npy":
            return _array(path, channels)
        return from_uint8(_picture(path, channels))

    def _check(self, number: int) -> None:
        path, said, restored = self.paths[number], self.manifest.images[number], self._read(number)
        if [*restored.shape[-2:]] != said["size"]:
            height, width = restored.shape[-2:]
            wanted = " x ".join(map(str, said["size"]))
            raise InputError(f"{path} has {height} x {width} pixels, its input has {wanted}")
        observed = _observed(self.folder / INPUTS / said["input"])
        is_eight_bit = path.suffix.lower() != ".npy"
        dark = from_uint8(torch.tensor([1], dtype=torch.uint8))
        if is_eight_bit and restored.max() <= dark and observed.max() > -0.9:
            raise InputError(
                f"{path} holds 0 and 1 alone: an 8-bit file has levels of 0 to 255, so multiply by "
                "255 before you save it"
            )
        if "mask" in said and observed.shape == restored.shape:
            known = _picture(self.folder / MASKS / said["mask"], 1) < 128
            kept = from_uint8(to_uint8(observed)) if is_eight_bit else observed.clamp(-1, 1)
            shift = ((restored - kept).abs() * known).max().item() * 127.5
            self.moved += shift > 1e-3
            self.largest = max(self.largest, shift)
        elif self.composite:
            raise InputError(
                f"outputs.composite=true puts known pixels back, and {said['input']} has no mask, "
                "or other channels than its image: leave it out"
            )


def _check_task(manifest: Manifest, benchmark: Benchmark, folder: Path) -> None:
    if manifest.benchmark != benchmark.name:
        raise InputError(
            f"{folder} holds outputs for benchmark={manifest.benchmark}, not {benchmark.name}"
        )
    if manifest.task != benchmark.task or manifest.n != benchmark.data.num_test:
        given = " ".join(manifest.overrides) or "no overrides"
        raise InputError(
            f"{folder} is of task {manifest.task} with {manifest.n} images, {benchmark.name} is "
            f"{benchmark.task} with {benchmark.data.num_test}: it was written with {given}; repeat "
            "them, or write the folder anew by restore task"
        )


def _paths(manifest: Manifest, folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The output of every image, in order."""
    place = folder / OUTPUTS
    files = sorted(place.iterdir()) if place.is_dir() else []
    files = [path for path in files if not path.name.startswith(".")]
    found: dict[str, Path] = {}
    wanted = [Path(image["input"]).stem for image in manifest.images]
    for path in files:
        suffix = path.suffix.lower()
        if suffix in LOSSY and suffix not in suffixes:
            raise InputError(f"{path} is lossy: save PNG or .npy, or set outputs.lossy=true")
        if path.stem not in wanted or suffix not in suffixes:
            raise InputError(f"{path} is no output of an input: name it as {wanted[0]}.png")
        if path.stem in found:
            raise InputError(f"{path} and {found[path.stem].name} are of one input: keep one")
        found[path.stem] = path
    if missing := [stem for stem in wanted if stem not in found]:
        raise InputError(
            f"{place / missing[0]}.png is missing: {len(found)} of {len(wanted)} outputs are there"
        )
    return [found[stem] for stem in wanted]


def _observed(path: Path) -> Tensor:
    """An input, [C, H, W]; in [-1, 1] but for noise, which no array that was written is rid of."""
    if path.suffix == ".npy":
        return from_unit(torch.from_numpy(np.load(path)).permute(2, 0, 1))
    return from_uint8(_picture(path, None))


def _picture(path: Path, channels: int | None) -> Tensor:
    """uint8 [C, H, W] of levels as they are stored; channels: those that it must have."""
    try:
        with opened(path) as file:
            mode, levels = file.image.mode, np.array(file.image)
            # Pillow drops the lower 8 bits of colours in silence.
            mode += "" if words_of(file.image, file.packed) is None else " with 16 bits"
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    found = {"L": 1, "RGB": 3}.get(mode)
    if found is None or channels not in (None, found):
        wanted = {1: "8-bit grey", 3: "8-bit RGB"}.get(channels or 0, "8-bit grey or RGB")
        raise InputError(f"{path} is of mode {mode}: save it as {wanted}")
    return torch.from_numpy(levels.reshape(*levels.shape[:2], found)).permute(2, 0, 1)


def _array(path: Path, channels: int) -> Tensor:
    try:
        values: Any = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is no array of numbers: {error}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        kind = getattr(values, "dtype", "npz")  # of several arrays in one file
        raise InputError(f"{path} is of type {kind}: save float [H, W, C] in [0, 1]")
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[2] != channels or 0 in values.shape:
        raise InputError(f"{path} has shape {values.shape}: save [H, W, {channels}]")
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds NaN or infinite values")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise InputError(f"{path} has values from {low:.4g} to {high:.4g}: clip it to [0, 1]")
    # Torch takes neither the byte order of another machine nor more than 64 bits.
    return from_unit(torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1))
