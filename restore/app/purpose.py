"""What each tab is for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from restore.app.models import Kind, Models


@dataclass(frozen=True)
class Purpose:
    """A tab: which models serve it, and what is drawn on its canvas."""

    name: str
    text: str
    serves: Callable[[Kind], bool]
    draws: Literal["hole", "colors", "nothing"]

    @property
    def word(self) -> str:
        return self.name.lower()

    def names(self, models: Models) -> list[str]:
        """The models that serve it."""
        return [name for name, kind in models.kinds().items() if self.serves(kind)]


PURPOSES = (
    Purpose(
        "Inpainting",
        "Draw over what is to be filled. All else stays as it is, bit for bit.",
        lambda kind: kind.fills_holes,
        "hole",
    ),
    Purpose(
        "Colorization",
        "Grey photos get colours. Of a photo that has colours only the lightness is looked at.",
        lambda kind: kind.colorizes,
        "nothing",
    ),
    Purpose(
        "Denoising",
        "Noise goes, the picture stays. Where a model asks for the noise level and none is given, "
        "it is estimated from the photo.",
        lambda kind: not (kind.fills_holes or kind.colorizes or kind.has_sampler),
        "nothing",
    ),
    Purpose(
        "Editing",
        "Paint roughly, in colours, and the model draws the photo anew: the more, the higher the "
        "strength. Stop at any step, paint over what there is so far, and go on from there.",
        lambda kind: kind.has_sampler,
        "colors",
    ),
)
