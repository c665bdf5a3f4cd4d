from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data.mask_files import MaskFiles
from restore.types import InputError


def write_masks(folder: Path) -> np.ndarray:
    """Three random masks, written in another order than that of their names. [3, 8, 8]"""
    folder.mkdir()
    masks = np.random.default_rng(0).choice([0, 255], (3, 8, 8)).astype(np.uint8)
    for number in (2, 0, 1):
        Image.fromarray(masks[number]).save(folder / f"{number}.png")
    (folder / "readme.txt").write_text("no mask")
    return masks


def test_mask_of_a_seed_is_seed_mod_n_in_the_order_of_names(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks")
    shape = MaskFiles("masks", root=str(tmp_path))
    hole = shape(torch.tensor([0, 1, 2, 3, 302, 5 * 2**32 + 1]), 8, 8)
    assert hole.shape == (6, 1, 8, 8)
    order = [0, 1, 2, 0, 302 % 3, (5 * 2**32 + 1) % 3]
    assert np.array_equal(hole[:, 0].numpy(), masks[order] / 255)


def test_resized_by_area_and_half_is_hole(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks")
    hole = MaskFiles("masks", root=str(tmp_path))(torch.arange(3), 4, 4)[:, 0]
    share = (masks / 255.0).reshape(3, 4, 2, 4, 2).mean(axis=(2, 4))
    assert (share == 0.5).any()
    assert np.array_equal(hole.numpy(), share >= 0.5)


def test_root_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_masks(tmp_path / "masks300")
    monkeypatch.setenv("RESTORE_DATA", str(tmp_path))
    assert MaskFiles()(torch.arange(2), 5, 3).shape == (2, 1, 5, 3)


def test_no_masks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no mask images") as caught:
        MaskFiles("gone", root=str(tmp_path))(torch.arange(2), 8, 8)
    assert str(tmp_path / "gone") in str(caught.value)


@pytest.mark.data
def test_masks300_ratios(real_data: Path) -> None:
    """Files come in six blocks of 50 by their hole ratio, 1-10 % to 50-60 %."""
    hole = MaskFiles(root=str(real_data))(torch.arange(300), 64, 64)
    ratio = hole.mean(dim=(1, 2, 3)).view(6, 50).mean(dim=1)
    assert torch.equal((ratio * 10).floor(), torch.arange(6.0))
