"""Feature networks of FID and KID: images [B, C, H, W] in [0, 1] to features [B, num_features]."""

import hashlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.image import from_unit
from restore.metric.classifier import load_classifier
from restore.network.inception import InceptionV3
from restore.network.squeezenet1_0 import SHA256, SIDE, load_squeezenet
from restore.network.weights import load_published
from restore.types import InputError


class InceptionExtractor(nn.Module):
    """The 2048 features of pytorch-fid: bilinear to 299 px without antialiasing, [-1, 1]."""

    definition = "inception-6726825d/bilinear299"
    num_features = InceptionV3.num_features

    def __init__(self) -> None:
        super().__init__()
        self.network = load_published(InceptionV3)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise InputError(f"inception takes grey or RGB images, not {images.shape[1]} channels")
        images = images.float().expand(-1, 3, -1, -1)
        resized = F.interpolate(images, (299, 299), mode="bilinear", align_corners=False)
        return self.network.features(from_unit(resized))


class SqueezeNetExtractor(nn.Module):
    """The means over all positions of fire9's 512 channels; bicubic to 227 px, antialiased."""

    definition = f"squeezenet1_0-{SHA256}/bicubic{SIDE}"
    num_features = 512

    def __init__(self) -> None:
        super().__init__()
        self.network = load_squeezenet()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise InputError(f"squeezenet1_0 takes grey or RGB images, not {images.shape[1]} bands")
        images = images.float().expand(-1, 3, -1, -1)
        resized = F.interpolate(images, (SIDE, SIDE), mode="bicubic", antialias=True)
        return self.network.features(resized.clamp(0, 1), ["fire9"])["fire9"].mean(dim=(2, 3))


_IMAGENET: dict[str, type[InceptionExtractor] | type[SqueezeNetExtractor]] = {
    "inception": InceptionExtractor,
    "squeezenet1_0": SqueezeNetExtractor,
}


def load_extractor(extractor: str | nn.Module) -> tuple[nn.Module, str]:
    """The feature network and its definition, which names its very weights.

    extractor: "inception", "squeezenet1_0" (both of ImageNet; the second ships with restore), the
    name of a shipped classifier, or a module with `num_features`.
    """
    if isinstance(extractor, str):
        known = _IMAGENET.get(extractor)
        named = load_classifier(extractor) if known is None else known()
        return named, named.definition
    if not isinstance(getattr(extractor, "num_features", None), int):
        raise InputError(f"extractor {type(extractor).__name__} has no num_features: give it one")
    return extractor.eval(), f"{type(extractor).__name__}-{_fingerprint(extractor)}"


def _fingerprint(module: nn.Module) -> str:
    digest = hashlib.sha256(repr(module).encode())
    for key, value in module.state_dict().items():
        digest.update(key.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()[:8]
