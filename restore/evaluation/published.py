"""Networks of others with their released weights, measured like our own."""

import os
import pickle
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from restore.degradation.noise import estimate_level
from restore.ensemble import VIEWS, SelfEnsemble
from restore.evaluation.method import NO_SAMPLING, SELF_ENSEMBLE, Method, for_every_sample
from restore.hashing import sha256_of
from restore.network.published_denoiser import PublishedDenoiser, restore_any_size
from restore.types import InputError, Observation


class Published:
    """`published(observation)` gives [B, C, H, W] in [-1, 1], from the input and its noise level.

    With self_ensemble that is the mean over eight views (`restore.ensemble`).

    path: a state dict with exactly the network's keys, absolute or below $RESTORE_WEIGHTS (without
    it, the working directory); .pth, or .safetensors. sha256: its first digits, checked where
    given. level: of the noise, as the benchmark tells it, or `estimated` from the image alone, for
    noise that is not Gaussian; the row then says so.

    Raises:
        InputError: no such file, another hash, other keys or shapes; when called, an observation
            without the noise level that the network needs, or of other channels.
    """

    def __init__(
        self,
        network: PublishedDenoiser,
        path: str,
        sha256: str | None = None,
        level: Literal["told", "estimated"] = "told",
    ) -> None:
        self.path = Path(os.environ.get("RESTORE_WEIGHTS") or ".") / path
        if not self.path.is_file():
            raise InputError(
                f"no weights {self.path}: get {self.path.name} from its authors and set "
                "RESTORE_WEIGHTS to its folder"
            )
        if sha256 is not None:
            _check_hash(self.path, sha256)
        _load(network, self.path)
        self.network = network.eval().requires_grad_(False)
        self.level = level

    def __call__(self, observation: Observation, self_ensemble: bool = False) -> Tensor:
        image, channels = observation["input"], self.network.image_channels
        if image.shape[1] != channels:
            raise InputError(
                f"{self.path.name} restores noisy images of {channels} channels, this benchmark "
                f"has inputs of {image.shape[1]}"
            )
        network = SelfEnsemble(self.network) if self_ensemble else self.network
        return restore_any_size(network, image, self._sigma(observation))

    def _sigma(self, observation: Observation) -> Tensor:
        """Levels [B] in units of [0, 1], which are half of those in units of [-1, 1]."""
        image = observation["input"]
        if self.network.takes_sigma and self.level == "estimated":
            levels = [estimate_level(one, 0) for one in image.double().cpu().numpy()]
            return image.new_tensor(levels) / 2
        if self.network.takes_sigma and "sigma" not in observation:
            raise InputError(
                f"{self.path.name} needs sigma: use a benchmark of Gaussian noise, or let it "
                "estimate the level (published.NAME.level=estimated)"
            )
        return observation.get("sigma", image.new_zeros(len(image))) / 2

    def method(self, name: str, self_ensemble: bool = False) -> Method:
        """As a method of one network call, or of eight."""
        sampling = SELF_ENSEMBLE if self_ensemble else NO_SAMPLING
        if self.level == "estimated":
            sampling = sampling._replace(sampler="estimated level")
        return Method(
            name=name,
            kind="published",
            restore=for_every_sample(partial(self, self_ensemble=self_ensemble)),
            checkpoint=str(self.path),
            module=self.network,
            draws=False,
            num_calls=VIEWS if self_ensemble else 1,
            sampling=sampling,
        )


def _check_hash(path: Path, sha256: str) -> None:
    actual = sha256_of(path)
    if len(sha256) < 8 or not actual.startswith(sha256.lower()):
        raise InputError(
            f"{path}: its SHA-256 is {actual}, the config says {sha256!r}: get the right file, or "
            "give 8 digits or more of its hash"
        )


def _state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _load(network: PublishedDenoiser, path: Path) -> None:
    try:
        network.load_state_dict(_state(path))
    except SafetensorError as error:
        raise InputError(f"{path} is no safetensors file: {error}") from error
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is no state dict that can be trusted: {reason}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]  # it lists every key
        raise InputError(f"{path} does not fit {type(network).__name__}: {reason}") from error
