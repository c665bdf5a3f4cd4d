"""Bitmaps pixel by pixel, beside what Pillow reads of those it reads right."""

import io
import random
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from restore.data.bmp_file import decoded
from restore.data.image_file import ImageError, load_image

LINE, BITMAP, WIDTH, HEIGHT = b"\0\0", b"\0\1", 9, 7
PALETTE = np.random.default_rng(0).integers(0, 256, (16, 3), dtype=np.uint8)  # red, green, blue


def bmp(runs: bytes, bits: int, palette: np.ndarray = PALETTE, padding: int = 0) -> bytes:
    """A bitmap of WIDTH x HEIGHT; padding: bytes before the runs."""
    colors = b"".join(bytes([*color[::-1], 0]) for color in palette)
    start = 54 + len(colors) + padding
    compression = {8: 1, 4: 2}[bits]
    fields = (40, WIDTH, HEIGHT, 1, bits, compression, len(runs), 0, 0, len(palette), 0)
    header = struct.pack("<2sLHHL", b"BM", start + len(runs), 0, 0, start)
    return header + struct.pack("<LllHHLLllLL", *fields) + colors + bytes(padding) + runs


def written(seed: int, bits: int, lines: bool = True) -> tuple[bytes, np.ndarray]:
    """Runs of every kind, drawn by chance, and what they paint, the lowest row first.

    lines: whether there may be some without any pixel.
    """
    draw = random.Random(seed)
    painted = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    runs, x, y = b"", 0, 0
    while y < HEIGHT:
        kind = draw.choice(["run", "literal", "delta", "line"])
        room = WIDTH - x
        if not lines and x == 0:
            kind = "run"
        if kind == "line" or room == 0:
            runs, x, y = runs + LINE, 0, y + 1
        elif kind == "delta":
            right, up = draw.randrange(room), draw.randrange(HEIGHT - y)
            runs, x, y = runs + bytes([0, 2, right, up]), x + right, y + up
        elif kind == "run":
            count, first, second = draw.randint(1, room), draw.randrange(16), draw.randrange(16)
            value = first << 4 | second if bits == 4 else first
            for k in range(count):
                painted[y, x + k] = second if bits == 4 and k % 2 else first
            runs, x = runs + bytes([count, value]), x + count
        elif room >= 3:
            numbers = [draw.randrange(16) for _ in range(draw.randint(3, room))]
            painted[y, x : x + len(numbers)] = numbers
            even = [*numbers, *[0] * (len(numbers) % 2)]
            pairs = zip(even[::2], even[1::2], strict=True)
            body = bytes(numbers if bits == 8 else [a << 4 | b for a, b in pairs])
            runs += bytes([0, len(numbers)]) + body + bytes(len(body) % 2)
            x += len(numbers)
    return runs + BITMAP, painted


@pytest.mark.parametrize("bits", [4, 8])
def test_runs_literals_and_moves_paint_what_they_say(bits: int) -> None:
    for seed in range(40):
        runs, painted = written(seed, bits)
        assert np.array_equal(decoded(runs, HEIGHT, WIDTH, bits), painted)
        packed = bmp(runs, bits, padding=seed % 2)
        colors = torch.from_numpy(PALETTE[painted[::-1]]).permute(2, 0, 1)
        assert torch.equal(load_image(packed, 3), colors)


def test_pillow_reads_the_same_of_bytes_at_an_even_place_without_empty_lines() -> None:
    for seed in range(40):
        runs, _ = written(seed, 8, lines=False)
        with Image.open(io.BytesIO(bmp(runs, 8))) as image:
            theirs = np.asarray(image.convert("RGB"))
        assert np.array_equal(load_image(bmp(runs, 8), 3).permute(1, 2, 0).numpy(), theirs)


def test_grey_palettes_and_bitmaps_that_end_early() -> None:
    """The first run of 16 bytes is the lowest row; what is not reached has the first colour."""
    grey = np.repeat(np.arange(0, 256, 17, dtype=np.uint8)[:, None], 3, axis=1)
    wanted = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.uint8)
    wanted[0, -1, :4] = 5 * 17
    wanted[0, -3, 6] = 9 * 17
    runs = bytes([4, 0x55, 0, 2, 2, 2, 1, 0x90]) + BITMAP
    assert torch.equal(load_image(bmp(runs, 4, grey), 1), wanted)


def test_runs_beyond_the_right_edge_are_cut() -> None:
    runs = bytes([WIDTH + 3, 7]) + LINE + bytes([0, 2, WIDTH, 0, 3, 1]) + BITMAP
    rows = decoded(runs, HEIGHT, WIDTH, 8)
    assert rows[0].tolist() == [7] * WIDTH and not rows[1:].any()


@pytest.mark.parametrize("kept", [0, 1, 2, 5, -3])
def test_runs_that_stop_before_the_image_does_are_truncated(kept: int) -> None:
    runs = (bytes([0, 4, 1, 2, 3, 4, 5, 6]) + LINE) * HEIGHT
    assert decoded(runs, HEIGHT, WIDTH, 8)[:, :4].tolist() == [[1, 2, 3, 4]] * HEIGHT
    with pytest.raises(ImageError, match=r"photo\.bmp: .*truncated: its pixels end in row"):
        load_image(bmp(runs[:kept], 8), 3, "photo.bmp")


@pytest.mark.parametrize("opacity", [0, 128])
def test_a_bitmap_that_is_opaque_nowhere_says_nothing_of_it(opacity: int) -> None:
    """32 bits with a mask for alpha, as of a header of version 4; 128 is laid on white."""
    colors = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    rows = np.dstack([colors[::-1, :, ::-1], np.full((HEIGHT, WIDTH), opacity, np.uint8)]).tobytes()
    header = struct.pack("<2sLHHL", b"BM", 122 + len(rows), 0, 0, 122)
    header += struct.pack("<LllHHLLllLL", 108, WIDTH, HEIGHT, 1, 32, 3, len(rows), 0, 0, 0, 0)
    header += struct.pack("<4L", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    share = opacity / 255 if opacity else 1
    read = load_image(header + rows, 3).permute(1, 2, 0).numpy()
    assert np.abs(read - (colors * share + 255 * (1 - share))).max() <= 0.51
