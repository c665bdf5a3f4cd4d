"""`restore shard`: a folder of photos as webdataset shards.

Importing this module must stay instant.
"""

import argparse
import math
from pathlib import Path

from restore import launch
from restore.errors import DONE
from restore.types import InputError

ABOUT = "pack a folder of photos into webdataset shards, which data=webdataset reads"
EXAMPLES = """SRC/train, SRC/val and SRC/test become shards of their own, where there are any of
them. Files are packed as they are, in an order that is shuffled once; equal folders give equal
bytes. DST/manifest.json tells samples, bytes and SHA-256 of every shard. Called again, it goes on
where it was stopped.

examples:
  restore shard photos shards
  restore shard photos shards --megabytes 512 --workers 8
  restore shard pets shards --classes
  python train.py experiment=denoise_photos data=webdataset data.root=shards"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", type=Path, help="folder of photos, at any depth")
    parser.add_argument("folder", metavar="DST", type=Path, help="new, or begun by this command")
    parser.add_argument("--megabytes", type=float, default=256.0, help="of a shard (default 256)")
    parser.add_argument("--workers", type=int, help="shards at a time (default: processors)")
    parser.add_argument(
        "--classes", action="store_true", help="the first folder of a photo is its class"
    )
    parser.set_defaults(
        command=lambda given: shard(
            given.source, given.folder, given.megabytes, given.workers, given.classes
        )
    )


def shard(
    source: Path,
    folder: Path,
    megabytes: float = 256.0,
    workers: int | None = None,
    classes: bool = False,
) -> int:
    """Writes the shards and says what was written and left out; see `restore.data.pack`."""
    from restore.callback.meter import Meter
    from restore.config.command import paste
    from restore.data import pack, shard_plan

    workers = launch.cores() if workers is None else workers
    if not 0 < megabytes < math.inf or workers < 1:
        raise InputError(
            f"--megabytes {megabytes} and --workers {workers} must be above 0 and finite"
        )
    if folder.resolve() == source.resolve() or source.resolve() in folder.resolve().parents:
        raise InputError(f"DST {folder} lies in SRC: its shards would be photos of the next call")
    made = shard_plan.plan(source, int(megabytes * 2**20), classes)
    manifest = pack.find_manifest(made, folder)
    if manifest is None:
        try:
            meter = Meter("photos", sum(len(one.photos) for one in made.shards))
            manifest = pack.write(made, source, folder, workers, meter.update)
        except OSError as error:
            raise InputError(f"{folder} cannot be written: {error.strerror}") from error
        finally:
            meter.close()
    for reason, count in made.left_out.items():
        print(f"left out: {count} {reason}")
    counts = shard_plan.count_by_split(made.shards)
    shards = ", ".join(f"{split} {count}" for split, count in counts.items())
    size = f"{manifest['bytes'] / 2**20:.1f} MiB"
    print(f"{manifest['samples']} photos in shards ({shards}), {size}: {folder / pack.MANIFEST}")
    number = f" data.source.num_classes={len(made.classes)}" if classes else ""
    print(f"next: data=webdataset {paste('data.root', str(folder))}{number}")
    return DONE
