import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data import mask_files
from restore.data.mask_files import MaskFiles, read_mask
from restore.types import InputError

FILES = Path(__file__).parent / "files"
EXPECTED = json.loads((FILES / "expected.json").read_text())


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


@pytest.mark.parametrize("kind", [kind for kind in EXPECTED if kind.startswith("masks/")])
def test_masks_of_people(kind: str) -> None:
    """The share of the hole that was meant, or an error that names the file."""
    expected = EXPECTED[kind]["hole"]
    with Image.open(FILES / kind / "m.png") as image:
        width, height = image.size
    shape = MaskFiles(kind, root=str(FILES))
    if isinstance(expected, float):
        assert float(shape(torch.zeros(1).long(), height, width).mean()) == pytest.approx(expected)
        return
    if kind.endswith("white_strokes_on_transparent"):
        share = float(shape(torch.zeros(1).long(), height, width).mean())
        assert share == pytest.approx(0.1982, abs=1e-4)
        return
    with pytest.raises(InputError, match=rf"{kind}/m\.png is not empty.* brightest is") as caught:
        shape(torch.zeros(1).long(), height, width)
    assert "\n" not in str(caught.value)


def save(folder: Path, array: np.ndarray, name: str = "m.png") -> MaskFiles:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(folder / name)
    return MaskFiles(".", root=str(folder))


def test_a_hole_that_is_everything_is_an_error(tmp_path: Path) -> None:
    shape = save(tmp_path, np.full((4, 4), 255, np.uint8))
    with pytest.raises(InputError, match=r"m\.png is hole everywhere: make black what"):
        shape(torch.zeros(1).long(), 4, 4)
    inverted = MaskFiles(".", root=str(tmp_path), invert=True)
    assert not inverted(torch.zeros(1).long(), 4, 4).any()


def test_an_empty_mask_is_an_empty_hole(tmp_path: Path) -> None:
    shape = save(tmp_path, np.zeros((4, 4), np.uint8))
    assert not shape(torch.zeros(1).long(), 4, 4).any()
    with pytest.raises(InputError, match=r"everywhere: make white \(it is read inverted\)"):
        MaskFiles(".", root=str(tmp_path), invert=True)(torch.zeros(1).long(), 4, 4)


def test_inverted_masks(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks")
    hole = MaskFiles("masks", root=str(tmp_path), invert=True)(torch.arange(3), 8, 8)
    assert np.array_equal(hole[:, 0].numpy(), 1 - masks / 255)


def test_sub_folders_count_and_hidden_ones_do_not(tmp_path: Path) -> None:
    half = np.zeros((4, 4), np.uint8)
    half[:2] = 255
    save(tmp_path, half, "b/1.png")
    save(tmp_path, half.T.copy(), "a.png")
    save(tmp_path, half, ".ipynb_checkpoints/a-checkpoint.png")
    (tmp_path / "._a.png").write_bytes(b"no image")
    hole = MaskFiles(".", root=str(tmp_path))(torch.arange(3), 4, 4)[:, 0].numpy()
    assert np.array_equal(hole, np.stack([half.T, half, half.T]) / 255)


def test_memory_of_masks_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = write_masks(tmp_path / "masks")
    monkeypatch.setattr(mask_files, "_BUDGET", 2 * 64)
    shape = MaskFiles("masks", root=str(tmp_path))
    for _ in range(2):
        assert np.array_equal(shape(torch.arange(3), 8, 8)[:, 0].numpy(), masks / 255)
        assert len(shape._kept) == 2 and shape._used == 128


def test_the_mask_that_was_used_last_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_masks(tmp_path / "masks")
    monkeypatch.setattr(mask_files, "_BUDGET", 2 * 64)
    shape, read = MaskFiles("masks", root=str(tmp_path)), list[str]()

    def noted(path: Path, invert: bool) -> torch.Tensor:
        read.append(path.stem)
        return read_mask(path, invert)

    monkeypatch.setattr(mask_files, "read_mask", noted)
    shape(torch.tensor([0, 1, 0, 2, 0, 1]), 8, 8)  # 2 takes the place of 1
    assert read == ["0", "1", "2", "1"]


def test_half_white_is_enough_and_less_is_a_mask_that_lost_its_meaning(tmp_path: Path) -> None:
    for brightest in (127, 128):
        pixels = np.zeros((4, 4), np.uint8)
        pixels[0] = brightest
        Image.fromarray(pixels).save(tmp_path / f"{brightest}.png")
    for invert in (False, True):
        with pytest.raises(InputError, match="brightest is 127 of 255"):
            read_mask(tmp_path / "127.png", invert)
    assert read_mask(tmp_path / "128.png", invert=False).max() == 128


@pytest.mark.data
def test_masks300_ratios(real_data: Path) -> None:
    """Files come in six blocks of 50 by their hole ratio, 1-10 % to 50-60 %."""
    hole = MaskFiles(root=str(real_data))(torch.arange(300), 64, 64)
    ratio = hole.mean(dim=(1, 2, 3)).view(6, 50).mean(dim=1)
    assert torch.equal((ratio * 10).floor(), torch.arange(6.0))


def test_a_picture_in_colours_is_no_mask_without_a_word(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    with pytest.warns(UserWarning, match=r"photo\.png has colours: is it a mask\?"):
        read_mask(tmp_path / "photo.png", invert=False)
    drawn = np.zeros((64, 64, 3), np.uint8)
    drawn[8:40, 8:40] = 255
    Image.fromarray(drawn).save(tmp_path / "mask.jpg", quality=60)
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("mask.jpg", "mask.png"):
            assert (read_mask(tmp_path / name, invert=False) > 127).float().mean() == 0.25


def test_a_mask_that_a_camera_has_tinted_is_one(tmp_path: Path) -> None:
    """Red is 10 levels above the rest; at 20 it is said."""
    for tint in (10, 20):
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[:4] = 230
        pixels[..., 0] += tint
        Image.fromarray(pixels).save(tmp_path / f"{tint}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_mask(tmp_path / "10.png", invert=False)
    with pytest.warns(UserWarning, match="has colours"):
        read_mask(tmp_path / "20.png", invert=False)


def test_a_palette_of_labels_is_no_mask_however_bright(tmp_path: Path) -> None:
    """PASCAL VOC draws what is not judged in (224, 224, 192), which is brighter than half."""
    labels = np.zeros((16, 16), np.uint8)
    labels[4:12, 4:12] = 1
    labels[3] = 2
    image = Image.fromarray(labels, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 224, 224, 192])
    image.save(tmp_path / "labels.png")
    with pytest.raises(InputError, match=r"labels\.png has a palette of colours"):
        read_mask(tmp_path / "labels.png", invert=False)
    image.putpalette([0, 0, 0, 255, 255, 255, 255, 255, 255])
    image.save(tmp_path / "grey.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hole = read_mask(tmp_path / "grey.png", invert=False)[0].numpy() > 127
    assert np.array_equal(hole, labels > 0)
