"""Networks of others with their released weights, measured like our own."""

import hashlib
import os
import pickle
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.evaluation.method import Method
from restore.image import from_unit, to_unit
from restore.network.published_denoiser import PublishedDenoiser
from restore.types import InputError, Observation


class Published:
    """`published(observation)` gives [B, C, H, W] in [-1, 1], from the input and its noise level.

    path: a state dict with exactly the network's keys, absolute or below $RESTORE_WEIGHTS (without
    it, the working directory). sha256: its first digits, checked where given.

    Raises:
        InputError: no such file, another hash, other keys or shapes; when called, an observation
            without the noise level that the network needs, or of other channels.
    """

    def __init__(self, network: PublishedDenoiser, path: str, sha256: str | None = None) -> None:
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

    def __call__(self, observation: Observation) -> Tensor:
        image, network = observation["input"], self.network
        if image.shape[1] != network.image_channels:
            raise InputError(
                f"{self.path.name} restores noisy images of {network.image_channels} channels, "
                f"this benchmark has inputs of {image.shape[1]}"
            )
        if network.takes_sigma and "sigma" not in observation:
            raise InputError(f"{self.path.name} needs sigma: use a benchmark of Gaussian noise")
        # a level in units of [-1, 1] is half of that in units of [0, 1]
        sigma = observation.get("sigma", image.new_zeros(len(image))) / 2
        height, width = image.shape[-2:]
        padding = (0, -width % network.factor, 0, -height % network.factor)
        restored: Tensor = network(F.pad(to_unit(image), padding, mode="replicate"), sigma)
        return from_unit(restored[..., :height, :width])

    def method(self, name: str) -> Method:
        """One deterministic result of one network call stands for every sample."""

        def restore(observation: Observation, num_samples: int) -> Tensor:
            return self(observation)[:, None].repeat_interleave(num_samples, dim=1)

        return Method(
            name=name,
            kind="published",
            restore=restore,
            checkpoint=str(self.path),
            module=self.network,
            num_calls=1,
        )


def _check_hash(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if len(sha256) < 8 or not actual.startswith(sha256.lower()):
        raise InputError(
            f"{path}: its SHA-256 is {actual}, the config says {sha256!r}: get the right file, or "
            "give 8 digits or more of its hash"
        )


def _load(network: PublishedDenoiser, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is no state dict that can be trusted: {reason}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]  # it lists every key
        raise InputError(f"{path} does not fit {type(network).__name__}: {reason}") from error
