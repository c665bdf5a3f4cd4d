"""The check values that came with the weights, of public pictures."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from restore.network import squeezenet1_0
from restore.network.squeezenet1_0 import SCALES, SIDE, load_squeezenet
from restore.types import InputError


def picture(name: str, box: tuple[int, int, int, int]) -> Tensor:
    cut = Image.fromarray(getattr(data, name)()).crop(box)
    resized = np.asarray(cut.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return torch.from_numpy(resized.copy()).permute(2, 0, 1)[None] / 255


def test_a_cat_is_a_cat() -> None:
    network = load_squeezenet()
    cat = picture("chelsea", (75, 0, 375, 300))
    share, classes = network(cat).softmax(1)[0].topk(3)
    assert classes.tolist() == [285, 282, 281]
    assert share.tolist() == pytest.approx([0.5317, 0.2496, 0.1061], abs=2e-3)
    means = {name: float(x.mean()) for name, x in network.features(cat).items()}
    assert means == pytest.approx(SCALES, rel=1e-3)


def test_an_espresso_is_an_espresso() -> None:
    width, height = 600, 400
    left = (width - height) // 2
    coffee = picture("coffee", (left, 0, left + height, height))
    share, best = load_squeezenet()(coffee).softmax(1)[0].max(0)
    assert int(best) == 967 and float(share) == pytest.approx(0.90, abs=0.02)


def test_a_damaged_file_and_a_small_image_are_refused(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="30x64 px is too small"):
        load_squeezenet()(torch.zeros(1, 3, 30, 64))
    damaged = bytearray(squeezenet1_0.WEIGHTS.read_bytes())
    damaged[-1] ^= 1
    path = tmp_path / "squeezenet1_0.safetensors"  # type: ignore[operator]
    path.write_bytes(damaged)
    monkeypatch.setattr(squeezenet1_0, "WEIGHTS", path)
    with pytest.raises(InputError, match="is damaged"):
        load_squeezenet()
