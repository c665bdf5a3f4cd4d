"""Streamed shards: what each reader gets, over HTTP, and what happens when a server fails."""

import gzip
import io
import itertools
import json
import subprocess
import sys
import tarfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from entry import ROOT
from PIL import Image
from test_webdataset import FILES, png, sample, write_tar

from restore.data import opener
from restore.data.framing import CenterSquare
from restore.data.module import DataModule
from restore.data.shard import IMAGE, index_shard
from restore.data.source import Split
from restore.data.streaming import ShardReader, Streaming, order
from restore.data.webdataset import WebDataset
from restore.degradation.noise import Gaussian
from restore.types import InputError

NUM_SHARDS, PER_SHARD = 4, 5
NAMES = {f"photo{number:03d}" for number in range(NUM_SHARDS * PER_SHARD)}


class Server(ThreadingHTTPServer):
    """Serves a folder on loopback; shards in `broken` end early, those in `silent` never do."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.requests: Counter[str] = Counter()
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.ended = threading.Event()

    @property
    def shards(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/train-{{0..{NUM_SHARDS - 1}}}.tar"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.requests[name] += 1
        data = (self.server.folder / name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        some = data[: len(data) // 2]
        self.wfile.write(some if name in self.server.broken | self.server.silent else data)
        if name in self.server.silent:
            self.wfile.flush()
            self.server.ended.wait(20)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for shard in range(NUM_SHARDS):
        numbers = range(PER_SHARD * shard, PER_SHARD * (shard + 1))
        members = {name: data for number in numbers for name, data in sample(number).items()}
        write_tar(tmp_path / f"train-{shard}.tar", members)
    write_tar(tmp_path / "held-0.tar", {**sample(90), **sample(91)})
    made = Server(tmp_path)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.ended.set()
    made.shutdown()
    made.server_close()


def source(root: Path, split: Split, shards: str, **settings: Any) -> Streaming:
    held = partial(WebDataset, train="held-0.tar", val_fraction=1.0)
    named = {"samples_per_epoch": 16, "buffer": 6, "timeout": 5.0, **settings}
    return Streaming(root, split, shards, held, **named)


def module(server: Server, workers: int = 0, shards: str | None = None, **given: Any) -> DataModule:
    return DataModule(
        partial(source, shards=shards or server.shards, **given),
        Gaussian(25.0),
        CenterSquare(2),
        CenterSquare(2),
        batch_size=2,
        num_workers=workers,
        root=str(server.folder),
        seed=3,
    )


def epochs(data: DataModule, count: int = 2) -> list[list[tuple[list[str], list[int]]]]:
    """Names and seeds of every batch."""
    loader = data.train_dataloader()
    return [[(raw["name"], raw["seed"].tolist()) for raw in loader] for _ in range(count)]


@pytest.mark.parametrize(("world", "workers"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_readers_share_the_shards_of_every_pass(world: int, workers: int) -> None:
    shards = [f"shard{k}" for k in range(9)]
    readers = [ShardReader(r, world, w, workers) for r in range(world) for w in range(workers)]
    for turn in range(2):
        own = [order(shards, 1, 5, turn, reader) for reader in readers]
        assert sorted(itertools.chain(*own)) == shards
        assert max(map(len, own)) - min(map(len, own)) <= 1
        assert own == [order(shards, 1, 5, turn, reader) for reader in readers]
    orders = [
        order(shards, *keys, ShardReader()) for keys in ((1, 5, 0), (1, 5, 1), (1, 6, 0), (2, 5, 0))
    ]
    assert len(set(map(tuple, orders))) == 4


def test_one_epoch_over_http_reads_every_sample_once(server: Server) -> None:
    data = module(server, samples_per_epoch=20)
    first, second = epochs(data)
    for epoch in (first, second):
        assert {name for names, _ in epoch for name in names} == NAMES
    assert first != second
    assert len({seed for _, seeds in first + second for seed in seeds}) == 40
    assert epochs(module(server, samples_per_epoch=20)) == [first, second]


def test_samples_that_are_counted_are_different_photos(server: Server) -> None:
    """Of a stream, which has no index, its first ones: one of each shard is all that it can look
    up."""
    samples = module(server, samples_per_epoch=20).samples("train")
    for count in (7, 20):
        names = [raw["name"][0] for raw in samples.spread(count)]
        assert len({*names}) == count and {*names} <= NAMES


def test_processes_get_equally_many_of_different_shards(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for rank in range(2):
        monkeypatch.setattr(DataModule, "_process", lambda self, rank=rank: (rank, 2))
        (epoch,) = epochs(module(server), 1)
        assert len(epoch) == 16 // 2 // 2
        seen.append({name for names, _ in epoch for name in names})
    assert not seen[0] & seen[1]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("begun", [1, 4])
def test_an_epoch_goes_on_where_it_stood(server: Server, workers: int, begun: int) -> None:
    whole = epochs(module(server, workers))
    assert [len(epoch) for epoch in whole] == [8, 8]
    again = module(server, workers)
    again.go_to(0, 2 * begun)
    assert epochs(again) == [whole[0][begun:], whole[1]]
    later = module(server, workers)
    later.go_to(1, 0)
    assert epochs(later, 1) == whole[1:]


def test_a_shard_that_breaks_off_is_left_out_from_there(server: Server) -> None:
    server.broken = {"train-1.tar"}
    data = module(server, samples_per_epoch=20)  # 4 of the broken shard, and one of a second pass
    with pytest.warns(UserWarning, match=r"train-1.tar left out .* broke off after \d+ of"):
        (epoch,) = epochs(data, 1)
    names = [name for names, _ in epoch for name in names]
    others = NAMES - {f"photo{number:03d}" for number in range(5, 10)}
    assert len(names) == 20 and len(set(names)) == 19 and others <= set(names)


def test_a_server_that_falls_silent_is_given_up(server: Server) -> None:
    server.silent = {"train-2.tar"}
    with pytest.warns(UserWarning, match=r"train-2.tar left out .* timed out"):
        epochs(module(server, timeout=0.2, samples_per_epoch=18), 1)


def test_without_a_readable_shard_a_run_ends(server: Server) -> None:
    for path in server.folder.glob("train-*.tar"):
        path.write_bytes(b"no archive" * 100)
    with (
        warnings.catch_warnings(),
        pytest.raises(InputError, match="no image in any of 4 shards"),
    ):
        warnings.simplefilter("ignore")
        epochs(module(server), 1)
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match="no image in any of 1 shards"):
        module(server).check("train")


def keys(folder: Path, shard: str) -> list[str]:
    """Of the samples of a pass over one shard."""
    return [one["__key__"] for one in source(folder, "train", shard)._read([str(folder / shard)])]


def test_every_photo_that_shards_hold_is_streamed(tmp_path: Path) -> None:
    members = {f"{extension}.{extension}": extension.encode() for extension in IMAGE}
    others = {"x/._a.png": b"", "x/.thumbnails/b.png": b"", "c.v1.png": b"", "d.json": b"{}"}
    write_tar(tmp_path / "s.tar", {**members, **others})
    indexed = [one.key for one in index_shard(tmp_path / "s.tar").samples]
    assert keys(tmp_path, "s.tar") == indexed == list(IMAGE)
    write_tar(tmp_path / "t.tar", {"d.json": b"{}", "e.cls": b"1"})
    with pytest.raises(InputError, match="no image in any of 1 shards"):
        keys(tmp_path, "t.tar")


def test_two_members_of_one_name_are_refused_as_in_an_index(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    write_tar(path, {"a.png": png(0), "b.png": png(1), "b.PNG": png(2)})
    says = r"s\.tar: two members are named b\.png"
    with pytest.raises(InputError, match=says):
        index_shard(path)
    with pytest.raises(InputError, match=says):
        keys(tmp_path, "s.tar")


def test_archives_behind_each_other_are_all_streamed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = keys(FILES, "concatenated.tar")
    assert found == [one.key for one in index_shard(FILES / "concatenated.tar").samples]
    assert len(found) == 6


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (lambda tar, at: tar[:at] + b"?" + tar[at + 1 :], 3),  # in a header
        (lambda tar, at: tar[:at], 3),  # between two members
        (lambda tar, at: tar[: at + 100], 3),  # within a header
        (lambda tar, at: tar[: at + 512 + 20], 3),  # within a photo
        (lambda tar, at: tar + b"no header" * 60, 5),  # behind the end
    ],
)
def test_what_cannot_be_read_of_a_shard_is_said(
    tmp_path: Path, damage: Callable[[bytes, int], bytes], left: int, compressed: bool
) -> None:
    path = tmp_path / "s.tar"
    write_tar(path, {f"{number}.png": png(number) for number in range(5)})
    with tarfile.open(path) as tar:
        at = tar.getmembers()[3].offset
    damaged = damage(path.read_bytes(), at)
    path.write_bytes(gzip.compress(damaged) if compressed else damaged)
    with pytest.warns(UserWarning, match=r"s\.tar left out from here: ") as told:
        assert keys(tmp_path, "s.tar") == [str(number) for number in range(left)]
    assert len(told) == 1


def test_an_epoch_of_a_stream_is_no_number_of_photos_to_repeat(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", {f"{number}.png": png(number) for number in range(5)})
    frame = CenterSquare(8)
    made = partial(source, shards="s.tar", num_classes=None)
    noise: Any = Gaussian(25.0)
    settings: dict[str, Any] = {"batch_size": 1, "root": str(tmp_path), "train_repeat": 4}
    data = DataModule(made, noise, frame, frame, **settings)
    with pytest.raises(InputError, match=r"train_repeat=4: .* data\.source\.samples_per_epoch"):
        data.samples("train")


def test_names_of_streamed_photos_can_be_written(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", {"a\nb\udcff.png": png(3)})
    streamed = source(tmp_path, "train", "s.tar", num_classes=None)
    assert [streamed[0].name] == ["a\\nb\\udcff"]


def test_a_compression_that_no_stream_is_read_from_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"0.png": png(0)})
    (tmp_path / "b.tar").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(900))
    shards = [str(tmp_path / name) for name in ("b.tar", "a.tar")]
    with pytest.warns(UserWarning, match=r"b\.tar left out from here: compressed \(zstd\): unpack"):
        found = [one["__key__"] for one in source(tmp_path, "train", "a.tar")._read(shards)]
    assert found == ["0"]


def test_a_cache_fetches_once(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = epochs(module(server, cache=str(cache)))
    assert set(server.requests.values()) == {1}
    assert first == epochs(module(server)) and len(list(cache.glob("*.tar"))) == NUM_SHARDS
    server.broken = {"train-0.tar"}
    (shard,) = cache.glob("[!.]*train-0.tar")
    shard.unlink()
    with pytest.warns(UserWarning, match="train-0.tar left out"):
        epochs(module(server, cache=str(cache)), 1)
    kept = [one for one in cache.iterdir() if one.suffix != ".lock"]
    assert len(kept) == NUM_SHARDS - 1  # no half of one
    server.broken = set()
    shard.with_name(f"{shard.name}.part").write_bytes(b"of a process that was killed")
    assert epochs(module(server, cache=str(cache)), 1) == first[: len(first) // 2]
    assert sorted(cache.glob("[!.]*")) == sorted([*kept, shard])


def test_local_shards_by_glob(server: Server) -> None:
    local, far = module(server, shards="train-*.tar"), module(server)
    assert epochs(local) == epochs(far)
    assert sum(server.requests.values()) > 0


def test_local_shards_by_an_absolute_glob(tmp_path: Path) -> None:
    for name in ("b-1.tar", "b-0.tar", "c[0].tar"):
        (tmp_path / name).touch()
    wanted = [f"{tmp_path}/b-0.tar", f"{tmp_path}/b-1.tar", f"{tmp_path}/c[0].tar"]
    for pattern in ("{b-*,c[0]}.tar", f"{tmp_path}/{{b**,c[0]}}.tar"):
        assert opener.addresses(tmp_path, pattern) == wanted


def test_more_readers_than_shards(server: Server) -> None:
    with pytest.raises(InputError, match="4 shards for 1 processes times 5 workers"):
        module(server, workers=5).train_dataloader()


@pytest.mark.parametrize(
    "shards", ["pipe:cat x.tar", "pipe://x/y", "ftp://host/a.tar", "file:///etc/x", "http:x"]
)
def test_commands_and_other_schemes_are_refused(tmp_path: Path, shards: str) -> None:
    with pytest.raises(InputError, match="no commands"):
        opener.addresses(tmp_path, shards)


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "one.tar").touch()
    for shards in ("none-{0..1}.tar", "none-*.tar", f"{tmp_path}/none-*.tar", "", ".", "on?.tar"):
        with pytest.raises(InputError, match=r"shard .*not found in.* data\.source\.shards"):
            opener.addresses(tmp_path, shards)


def test_a_cloud_without_its_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for scheme, tool in (("s3", "aws"), ("gs", "gsutil")):
        with pytest.raises(InputError, match=f"read by {tool}: install it"):
            opener.open_url(f"{scheme}://bucket/a.tar", 1.0)


TOOL = "#!/bin/sh\nprintf '%s' \"$*\"\nexec >&1\n{end}\n"


@pytest.mark.parametrize(("scheme", "tool"), [("s3", "aws"), ("gs", "gsutil")])
@pytest.mark.parametrize(
    ("end", "error"), [("exit 0", ""), ("exit 3", "3"), ("sleep 9", "no byte")]
)
def test_the_tool_of_a_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, tool: str, end: str, error: str
) -> None:
    (tmp_path / tool).write_text(TOOL.format(end=end))
    (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    stream = opener.open_url(f"{scheme}://bucket/a.tar", 0.3)
    told = b""

    def read() -> None:
        nonlocal told
        while data := stream.read(4):
            told += data

    if error:
        with pytest.raises(OSError, match=error):
            read()
    else:
        read()
    assert told.endswith(f"{scheme}://bucket/a.tar".encode() + b" -" * (scheme == "s3"))
    stream.close()


SPY = """
from pathlib import Path
from lightning.pytorch import Callback


class Spy(Callback):
    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with open(self.folder / f"rank{trainer.global_rank}", "a") as file:
            file.write(f"{trainer.current_epoch} {' '.join(batch['name'])}\\n")
"""


@pytest.mark.slow
@pytest.mark.ci
def test_two_processes_train_from_one_server(
    server: Server, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Two workers each: the batches are those of a process alone that is told its place."""
    for shard in range(NUM_SHARDS):
        numbers = range(PER_SHARD * shard, PER_SHARD * (shard + 1))
        write_tar(tmp_path / f"train-{shard}.tar", {f"{k:03d}.png": square(k) for k in numbers})
    write_tar(tmp_path / "held-0.tar", {f"{k:03d}.png": square(k) for k in (90, 91)})
    (tmp_path / "spy.py").write_text(SPY, encoding="utf-8")
    small = ("experiment=denoise_photos", "adversary=null", "task.network.widths=[4,4]")
    streamed = (
        "data=stream",
        f"data.source.shards='{server.shards}'",
        "data.source.held.train=held-0.tar",
        "data.source.samples_per_epoch=16",
        "data.source.buffer=6",
        "data.train_framing.size=16",
        "data.batch_size=2",
        f"data.root={tmp_path}",
    )
    run = tmp_path / "run"
    ended = subprocess.run(
        [
            *(sys.executable, str(ROOT / "train.py"), *small, *streamed, "trainer=ddp_cpu"),
            *("trainer.devices=2", "max_updates=8", "benchmark=[]", f"hydra.run.dir={run}"),
            *("trainer.val_check_interval=8", "packages=[spy]", "+callback.spy._target_=spy.Spy"),
            f"+callback.spy.folder={tmp_path}",
        ],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": f"{environment['PYTHONPATH']}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    training = json.loads((run / "result.json").read_text())["training"]
    assert (training["updates"], training["images"]) == (8, 8 * 2 * 2)
    seen = []
    for rank in range(2):
        alone = module(server, workers=2)
        alone.seed = 0  # the run's
        alone.trainer = Process(rank)  # type: ignore[assignment]
        wanted = [
            f"{epoch} {' '.join(names)}"
            for epoch, batches in enumerate(epochs(alone))
            for names, _ in batches
        ]
        assert (tmp_path / f"rank{rank}").read_text().splitlines() == wanted
        seen.append({name for line in wanted[:4] for name in line.split()[1:]})
    assert not seen[0] & seen[1] and set(server.requests) == {f"train-{k}.tar" for k in range(4)}


class Process:
    """What a loader asks of a trainer."""

    def __init__(self, rank: int) -> None:
        self.global_rank, self.world_size = rank, 2


def square(number: int) -> bytes:
    """A PNG of 16 px."""
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_other_splits_are_read_at_random(server: Server) -> None:
    data = module(server)
    data.check("train", "val")
    assert [len(data.samples(split)) for split in ("train", "val", "test")] == [16, 2, 2]
    assert data.first("val")["name"] == ["photo090"]
    assert data.fingerprint() == module(server).fingerprint()
    assert data.fingerprint()["digest"] != module(server, workers=2).fingerprint()["digest"]


@pytest.mark.parametrize(
    ("setting", "value"), [("samples_per_epoch", 0), ("buffer", 0), ("timeout", 0.0)]
)
def test_settings_out_of_range(tmp_path: Path, setting: str, value: float) -> None:
    with pytest.raises(InputError, match=f"data.source.{setting}"):
        source(tmp_path, "train", "x.tar", **{setting: value})


def test_labels(server: Server) -> None:
    labelled = source(server.folder, "train", server.shards, num_classes=5)
    item = next(labelled.items(1, 0, ShardReader()))
    assert item.label == int(item.name[-3:]) % 5
    assert item.image.shape == (3, 2, 3) and item.image.dtype == torch.uint8
    few = source(server.folder, "train", server.shards, num_classes=2)
    with pytest.raises(InputError, match="holds no class below 2"):
        list(islice(few.items(1, 0, ShardReader()), 20))
