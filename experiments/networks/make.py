"""python experiments/networks/make.py: README.md beside it, the layers of every network."""

from pathlib import Path

from restore.describe import describe, markdown

HERE = Path(__file__).resolve().parent
SIZE = 64  # px: what the trainings of most records see
FIRST = ("inpainting", "colorization", "denoising", "unet_classic", "plain")  # the described ones
LEAVES = HERE.parents[1] / "conf" / "network"
INTRODUCTION = f"""# Layers of the networks

Every leaf of `conf/network`, built and run: the layers with weights of their own, in the order in
which they first run, for images of {SIZE} px, three channels in and three out. A training sets
the channels that its data have: a colorizer reads one and predicts two, and a hole is one more. A
gated convolution computes twice the channels that it hands on. `restore describe network=NAME
--size 256` tells another size and takes overrides; `restore describe experiment=inpaint_original`
tells the layers that a training has. This page is made by `python experiments/networks/make.py`.
"""


def leaves() -> list[str]:
    """The described networks first, then all others by name."""
    found = sorted(path.stem for path in LEAVES.glob("*.yaml"))
    return [*FIRST, *(name for name in found if name not in FIRST)]


def section(name: str) -> str:
    return f"\n## {name}\n\n{markdown(*describe([f'network={name}'], SIZE), SIZE)}"


if __name__ == "__main__":
    page = INTRODUCTION + "".join(map(section, leaves()))
    (HERE / "README.md").write_text(page, encoding="utf-8")
