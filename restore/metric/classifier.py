"""The frozen classifiers that ship with restore: judges of label, FID and KID metrics."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from restore.folder import write_whole
from restore.image import from_unit
from restore.network.classifier import Classifier
from restore.types import InputError

WEIGHTS = Path(__file__).parent / "weights"


class FrozenClassifier(nn.Module):
    """A trained Classifier behind images in [0, 1] of any size, resized to what it was trained on.

    `definition` names its weights by their checksum; forward gives features [B, num_features].
    """

    def __init__(self, network: Classifier, name: str, image_size: int, sha256: str) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.num_features = network.num_features
        self.image_size = image_size
        self.definition = f"{name}-{sha256[:8]}/bilinear{image_size}"

    def _prepare(self, images: Tensor) -> Tensor:
        channels = self.network.in_channels
        if images.shape[1] not in (1, channels):
            raise InputError(
                f"classifier {self.definition} takes {channels} channels, not {images.shape[1]}"
            )
        images = images.float().expand(-1, channels, -1, -1)
        if images.shape[2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return from_unit(images)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """[B, num_classes] of images [B, C, H, W] in [0, 1]."""
        logits: Tensor = self.network(self._prepare(images))
        return logits

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.network.features(self._prepare(images))


def save_classifier(
    network: Classifier,
    name: str,
    *,
    image_size: int,
    dataset: str,
    accuracy: float,
    folder: Path = WEIGHTS,
) -> Path:
    """Writes `<name>.safetensors` (float16) and `<name>.json`; accuracy in [0, 1], on test data."""
    state = {
        key: value.cpu().half() if value.is_floating_point() else value.cpu()
        for key, value in network.state_dict().items()
    }
    data = save(state)
    record = {
        "dataset": dataset,
        "accuracy": accuracy,
        "image_size": image_size,
        "in_channels": network.in_channels,
        "num_classes": network.num_classes,
        "width": network.width,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    write_whole(path, data)
    write_whole(path.with_suffix(".json"), json.dumps(record, indent=2) + "\n")
    return path


def load_classifier(name: str, folder: Path = WEIGHTS) -> FrozenClassifier:
    """Raises InputError where it is not shipped or its bytes are not those of its record."""
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        shipped = sorted(found.stem for found in folder.glob("*.safetensors"))
        raise InputError(f"classifier={name}: no {path}; there are {shipped or 'none'}")
    record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise InputError(f"{path} is damaged: its checksum is not that of its .json, restore it")
    network = Classifier(record["in_channels"], record["num_classes"], record["width"])
    network.load_state_dict(load(data))
    return FrozenClassifier(network, name, record["image_size"], record["sha256"])
