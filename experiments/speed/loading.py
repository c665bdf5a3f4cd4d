"""Photos from files to batches against what users know, and what many of them cost."""

import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Row, compare
from PIL import Image

from restore.build import build
from restore.config.compose import composed

PHOTOS, SIDE, PATCH = 256, 256, 64
FEW, MANY, SHARDS = 10_000, 100_000, 10
PROBE = """
import sys, time
from pathlib import Path
from restore.data.webdataset import WebDataset
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("VmRSS"))
begun = time.perf_counter()
source = WebDataset(Path(sys.argv[1]), "train", "*.tar", val_fraction=0.01)
count = len(source)
seconds = time.perf_counter() - begun
before = resident()
[source[index] for index in range(0, count, count // 1000)]
print(count, seconds, before, resident())
"""


def rows(turns: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photos = [_jpeg(number) for number in range(PHOTOS)]
        for number, photo in enumerate(photos):
            (root / "photos").mkdir(exist_ok=True)
            (root / "photos" / f"{number:05}.jpg").write_bytes(photo)
        _write_shard(root / "train-000000.tar", ((f"{n:05}", one) for n, one in enumerate(photos)))
        yield from _decoding(root, turns)
    yield from _growth()


def _decoding(root: Path, turns: int) -> Iterator[Row]:
    """A photo of 256 px decoded and cropped to 64 px, by one process and without a cache."""
    sources = {
        "a folder": ["data=folder", "data.source.folder=photos"],
        "shards": ["data=webdataset"],
        "streamed shards": [
            "data=stream",
            "data.source.shards=train-000000.tar",
            f"data.source.samples_per_epoch={PHOTOS}",
            "data.source.held.train=train-000000.tar",
        ],
    }
    shard = str(root / "train-000000.tar")
    for name, chosen in sources.items():
        data = _data([*chosen, f"data.root={root}"])
        ours = lambda data=data: [None for _ in data.train_dataloader()]  # noqa: E731
        if name == "streamed shards":
            peer, theirs = "webdataset, PIL", lambda: _with_webdataset(shard)
        else:
            peer, theirs = "PIL, NumPy", lambda: _with_pillow(root / "photos")
        row = compare("data", f"a photo from {name}", peer, ours, theirs, turns=turns)
        yield replace(row, ours=row.ours / PHOTOS, theirs=row.theirs / PHOTOS)


def _data(overrides: list[str]) -> Any:
    """The training's loader without worker and cache: what a worker does."""
    settings = [
        "experiment=denoise_photos",
        *overrides,
        "data.train_framing._target_=restore.data.framing.RandomPatch",
        f"data.train_framing.size={PATCH}",
        "data.flip=true",
        "data.batch_size=16",
        "data.num_workers=0",
        "data.cache_gb=0",
        "benchmark=[]",
    ]
    if "data=folder" in overrides or "data=webdataset" in overrides:
        settings.append("data.source.val_fraction=0.004")
    made = build(composed("train", settings)["data"])
    made.setup("fit")
    return made


def _with_pillow(folder: Path) -> None:
    generator, patches = np.random.default_rng(0), []
    for path in folder.iterdir():
        patches.append(_cropped(np.asarray(Image.open(path).convert("RGB")), generator))
    np.stack(patches)


def _with_webdataset(shard: str) -> None:
    import webdataset

    generator = np.random.default_rng(0)
    loader = webdataset.WebDataset(shard, shardshuffle=False).decode("rgb8").to_tuple("jpg")
    np.stack([_cropped(photo, generator) for (photo,) in loader])


def _cropped(photo: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    top, left = generator.integers(0, SIDE - PATCH + 1, 2)
    patch = photo[top : top + PATCH, left : left + PATCH]
    return patch[:, ::-1] if generator.integers(2) else patch


def _growth() -> Iterator[Row]:
    """How many photos weigh in time and memory, each in a process of its own."""
    found: dict[int, list[list[float]]] = {}
    for count in (FEW, MANY):
        with tempfile.TemporaryDirectory() as folder:
            small = _jpeg(0, 16)
            for shard in range(SHARDS):
                numbers = range(shard, count, SHARDS)
                named = ((f"{number:07}", small) for number in numbers)
                _write_shard(Path(folder) / f"{shard:02}.tar", named)
            found[count] = [_probe(folder), _probe(folder)]
    (few, few_again), (many, again) = found[FEW], found[MANY]
    name = f"index of {MANY} photos"
    yield Row("growth", f"{name}, next start", "first start", again[1], many[1], 0.0, 1)
    each = many[1] / MANY, few[1] / FEW
    yield Row("growth", f"{name}, a photo", f"of {FEW}", *each, 0.0, 1)
    sizes = again[2] / 1024, few_again[2] / 1024
    yield Row("growth", f"process with {MANY} photos", f"with {FEW}", *sizes, 0.0, 1, unit="MiB")
    grown = (again[3] - again[2]) / 1024, (few_again[3] - few_again[2]) / 1024
    read = f"1000 of {MANY} photos read, added"
    yield Row("growth", read, f"of {FEW}", *grown, 0.0, 1, unit="MiB")


def _probe(folder: str) -> list[float]:
    """Photos, seconds to index them, and KiB at most before and after some are read."""
    command = [sys.executable, "-c", PROBE, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(one) for one in done.stdout.split()]


def _jpeg(seed: int, side: int = SIDE) -> bytes:
    """A smooth picture with some noise, about as large a file as a photo of its size."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
    noisy = (smooth + generator.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _write_shard(path: Path, photos: Iterator[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for key, content in photos:
            entry = tarfile.TarInfo(f"{key}.jpg")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
