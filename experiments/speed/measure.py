"""`make speed`: what is fast, against peers in the same run; appended to speed.csv."""

import argparse
import csv
import os
import time
from collections.abc import Iterator
from pathlib import Path

import gpu
import growth
import loading
import peak
import pieces
import starts
import steps
import torch
from pairs import Row

from restore.evaluation.record import provenance

HERE = Path(__file__).parent
GROUPS = {
    "peak": peak.rows,
    "steps": steps.rows,
    "pieces": pieces.rows,
    "loading": loading.rows,
    "starts": starts.rows,
    "gpu": gpu.rows,
}
GPU_GROUPS = ("GPU peak", "GPU training", "GPU memory", "GPU sampling")
PEAKS = dict.fromkeys(GPU_GROUPS, "GPU peak")  # what a group is a share of
FIELDS = (
    "when",
    "commit",
    "dirty",
    "device",
    "torch",
    "group",
    "name",
    "peer",
    "ours",
    "theirs",
    "ratio",
    "spread",
    "turns",
    "unit",
    "gflop",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"{', '.join(GROUPS)}; default: all of them")
    parser.add_argument("--turns", type=int, default=7, help="of A and B each (default: 7)")
    given = parser.parse_args()
    unknown = set(given.groups) - set(GROUPS)
    if unknown:
        parser.error(f"unknown group {', '.join(sorted(unknown))}: choose from {', '.join(GROUPS)}")
    print(f"threads {torch.get_num_threads()}, load {os.getloadavg()[0]:.1f}")
    for group in given.groups or GROUPS:
        for row in GROUPS[group](given.turns):
            append(row)
    (HERE / "README.md").write_text(page(), encoding="utf-8")


def append(row: Row) -> None:
    """Writes a row to speed.csv and prints it."""
    origin = provenance("cuda" if row.group in GPU_GROUPS else "cpu")
    line = {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        **{key: origin[key] for key in ("commit", "dirty", "device")},
        "torch": torch.__version__,
        **{key: getattr(row, key) for key in ("group", "name", "peer", "turns", "unit")},
        **{
            key: f"{getattr(row, key):.4g}"
            for key in ("ours", "theirs", "ratio", "spread", "gflop")
        },
    }
    path = HERE / "speed.csv"
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerow(line)
    print(f"{row.group:14} {row.name:38} {row.ratio:6.2f} x {row.peer}", flush=True)


def page() -> str:
    """The table of the newest row of each pair, and what follows from it."""
    newest = {(row["group"], row["name"], row["peer"]): row for row in _read()}
    named = {key[:2]: row for key, row in newest.items()}
    peaks: dict[str, float] = {}
    for row in newest.values():
        if row["group"] in ("peak", "GPU peak"):
            peaks[row["group"]] = max(peaks.get(row["group"], 0.0), _rate(row))
    lines = [
        "# Speed",
        "",
        "Made by `make speed`: each pair in turns (A B A B) in one run, medians. A ratio above 1",
        "says that restore is faster. Seconds are of a busy or a quiet machine: compare ratios.",
        "GFLOP/s are those that our step reaches, and the share is of the matrix product in bf16.",
        "GPU trainings read embedded photos by eight workers; the variants of a step (channels",
        "last, compiled, replayed) have their images on the GPU.",
        "",
        "| | | peer | ours | peer | ratio | spread | GFLOP/s | share | machine | commit |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|---|---|",
        *(_line(row, peaks.get(PEAKS.get(row["group"], "peak"), 0.0)) for row in newest.values()),
        "",
        *growth.section(named),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _read() -> Iterator[dict[str, str]]:
    with (HERE / "speed.csv").open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _rate(row: dict[str, str]) -> float:
    """GFLOP/s of our work; 0 where its operations were not counted."""
    return float(row["gflop"] or 0) / float(row["ours"])


def _line(row: dict[str, str], peak: float) -> str:
    unit, scale = ("ms", 1000.0) if row["unit"] in ("", "s") else (row["unit"], 1.0)
    ours, theirs = (f"{scale * float(row[key]):.3g} {unit}" for key in ("ours", "theirs"))
    spread = f"{100 * float(row['spread']):.0f} %" if float(row["spread"]) else ""
    rate = _rate(row)
    cells = (
        row["group"],
        row["name"],
        row["peer"],
        ours,
        theirs,
        f"{float(row['ratio']):.2f}",
        spread,
        f"{rate:.0f}" if rate else "",
        f"{100 * rate / peak:.0f} %" if rate and peak else "",
        row["device"],
        row["commit"],
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
