"""What an installation has, and whether it computes the known numbers of published protocols."""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restore.data.folder import Folder
from restore.data.framing import Multiple
from restore.data.source import data_root
from restore.degradation.gray import Gray
from restore.degradation.noise import AllInOneNoise, KAIRNoise
from restore.evaluation.baseline import Grey
from restore.evaluation.machine import Check, Status, checks
from restore.evaluation.record import PACKAGES
from restore.image import from_uint8, to_unit
from restore.metric.base import eight_bit
from restore.metric.classifier import WEIGHTS, load_classifier
from restore.metric.colorfulness import colorfulness
from restore.metric.psnr import luma, psnr_from_mse
from restore.network.alexnet import AlexNet
from restore.network.inception import InceptionV3
from restore.network.squeezenet import SqueezeNet
from restore.network.vgg import VGG16
from restore.network.weights import find_weights
from restore.types import Batch, InputError

SIGMAS = (15, 25, 50)
# PSNR of CBSD68's noisy input in dB at SIGMAS, by what is done to it before it is measured.
INPUT_PSNR = {
    "unclipped": (24.6188, 20.1818, 14.1612),  # the protocol of the tables
    "clipped": (24.8453, 20.5434, 15.0035),
    "clipped and rounded": (24.8438, 20.5426, 15.0034),
    "clipped and rounded, Y of YCbCr": (29.5928, 25.2608, 19.6422),
    "clipped and rounded, pooled squared error": (24.8350, 20.5295, 14.9869),
    "clipped and rounded, border of 4 left out": (24.8399, 20.5374, 14.9972),
    "shipped noisy PNG files": (24.8312, 20.5376, 15.0025),
    "all-in-one": (24.8330, 20.5383, 15.0042),  # PromptIR, AdaIR: benchmark=cbsd68_allinone_...
}
_NEAR = 1e-4  # dB from a value of the table, which has four decimals
_RECOMPUTED = list(INPUT_PSNR)[:4]
_ALL_IN_ONE = "all-in-one"
GREY_PSNR = 22.51  # dB, of colour left out
COLORFULNESS = 37.51  # of the clean photos; with |rg| and |yb| it would be 33.86
_INPUT, _GREY, _VIVID = "input PSNR", "grey baseline's PSNR", "colorfulness"
_FOLDERS = (
    "mnist",
    "flowers128",
    "bsds430",
    "cbsd68",
    "bsd68",
    "set12",
    "masks300",
    "scenes64",
    "photos",
)


def protocol_of(psnr: float, sigma: int) -> str | None:
    """The protocol whose CBSD68 input PSNR at sigma is `psnr` dB; None where none is so near.

    Raises InputError for a sigma of which no values are known.
    """
    if sigma not in SIGMAS:
        raise InputError(f"sigma={sigma}: check values are known for {SIGMAS}")
    values = {name: row[SIGMAS.index(sigma)] for name, row in INPUT_PSNR.items()}
    nearest = min(values, key=lambda name: abs(values[name] - psnr))
    return nearest if abs(values[nearest] - psnr) <= _NEAR else None


def diagnose() -> list[Check]:
    """All checks; those of images only where their files are."""
    root = data_root(None)
    return [*_versions(), *checks(), *_data(root), *_weights(), *_numbers(root)]


def _versions() -> Iterator[Check]:
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield Check("ok", "versions", found)
    if importlib.util.find_spec("torchvision") is None:
        yield Check("ok", "torchvision", "absent, as it should be")
    else:
        version = importlib.metadata.version("torchvision")
        found = f"{version}: not needed, and it may not fit torch"
        yield Check("wrong", "torchvision", found, "pip uninstall torchvision")


def _data(root: Path) -> Iterator[Check]:
    have = [name for name in _FOLDERS if (root / name).is_dir()]
    lack = [name for name in _FOLDERS if name not in have]
    if have:
        yield Check("ok", f"data in {root.absolute()}", ", ".join(have))
    if lack:
        cure = "set $RESTORE_DATA to the folder that holds them"
        yield Check("absent", f"data in {root.absolute()}", ", ".join(lack), cure)


def _weights() -> Iterator[Check]:
    for name in sorted(path.stem for path in WEIGHTS.glob("*.safetensors")):
        yield _attempt("wrong", f"classifier {name}", load_classifier, name)
    for network in (InceptionV3, VGG16, AlexNet, SqueezeNet):
        yield _attempt(
            "absent",
            f"weights of {network.__name__}",
            find_weights,
            network.weights,
            network.address,
        )


def _attempt(otherwise: Status, what: str, find: Callable[..., Any], *arguments: str) -> Check:
    try:
        found = find(*arguments)
        return Check("ok", what, getattr(found, "definition", str(found)))
    except InputError as error:
        return Check(otherwise, what, str(error))


def _numbers(root: Path) -> Iterator[Check]:
    photos = Folder(root, "test", "cbsd68", val_fraction=1.0)
    try:
        num_photos = len(photos)
    except InputError as error:
        yield Check("absent", "check values of CBSD68", str(error))
        return
    measured: dict[str, list[Tensor]] = {}
    noise = {sigma: AllInOneNoise(sigma) for sigma in SIGMAS}
    for k in range(num_photos):
        photo = photos[k].image
        values = _measure(from_uint8(photo)[None]) | _measure_all_in_one(photo, k, noise)
        for what, value in values.items():
            measured.setdefault(what, []).append(value)
    means = {what: torch.cat(values).mean().item() for what, values in measured.items()}
    for what, wanted, tolerance in _expected():
        yield compare(what, means[what], wanted, tolerance)


def compare(what: str, found: float, wanted: float, tolerance: float) -> Check:
    """Compares a measured number with the known one; names the protocol that a wrong one fits."""
    if abs(found - wanted) <= tolerance:
        return Check("ok", what, f"{found:.4f}")
    text = f"{found:.4f} instead of {wanted}"
    if what.startswith(_INPUT) and (other := protocol_of(found, int(what.rpartition(" ")[2]))):
        text += f": that is the protocol {other!r}"
    return Check("wrong", what, text, "compare the files of cbsd68, and NumPy's version")


def _expected() -> Iterator[tuple[str, float, float]]:
    """What is measured, its known mean over CBSD68, and half of that number's last digit."""
    for k, sigma in enumerate(SIGMAS):
        for protocol in (*_RECOMPUTED, _ALL_IN_ONE):
            yield _input(protocol, sigma), INPUT_PSNR[protocol][k], 6e-5
    yield _GREY, GREY_PSNR, 6e-3
    yield _VIVID, COLORFULNESS, 6e-3


def _input(protocol: str, sigma: int) -> str:
    return f"{_INPUT}, {protocol}, sigma {sigma}"


def _measure(target: Tensor) -> dict[str, Tensor]:
    """Every number [1] of one photo [1, 3, H, W] in [-1, 1]."""
    seeds = torch.zeros(1, dtype=torch.int64)
    clean = to_unit(target.double())
    found = {_VIVID: colorfulness(eight_bit(clean))}
    for sigma in SIGMAS:
        noisy = to_unit(KAIRNoise(sigma)(target, seeds)["input"].double())
        rounded = eight_bit(noisy)
        variants = (noisy, noisy.clamp(0, 1), rounded, luma(rounded))
        for protocol, variant in zip(_RECOMPUTED, variants, strict=True):
            against = luma(clean) if variant.shape[1] == 1 else clean
            error = (variant - against).square().mean(dim=(1, 2, 3))
            found[_input(protocol, sigma)] = psnr_from_mse(error)
    lightness = Gray()(target, seeds)["input"]
    batch = Batch(target=target, input=lightness, index=seeds, name=[""])
    error = (eight_bit(to_unit(Grey()(batch))) - clean).square().mean(dim=(1, 2, 3))
    return {**found, _GREY: psnr_from_mse(error)}


def _measure_all_in_one(
    photo: Tensor, place: int, noise: dict[int, AllInOneNoise]
) -> dict[str, Tensor]:
    """The input's PSNR [1] at every sigma, of photo number `place`, uint8 [3, H, W]."""
    target, found = from_uint8(Multiple(16)(photo, 0))[None], {}
    for sigma, degrade in noise.items():
        noisy = degrade(target, torch.tensor([place]))["input"]
        error = (to_unit(noisy.double()) - to_unit(target.double())).square().mean(dim=(1, 2, 3))
        found[_input(_ALL_IN_ONE, sigma)] = psnr_from_mse(error)
    return found


def show(checks: list[Check]) -> int:
    """Prints a line for each check, with its cure. Returns 1 if any is wrong, else 0."""
    for check in checks:
        cure = f" -> {check.cure}" if check.cure else ""
        print(f"{check.status:6}  {check.what}: {check.found}{cure}")
    wrong = sum(check.status == "wrong" for check in checks)
    print(f"{wrong} of {len(checks)} checks failed" if wrong else "all is well")
    return 1 if wrong else 0
