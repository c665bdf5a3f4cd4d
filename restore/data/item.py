"""An image as a source gives it, checked where it is read: the user may have written the source."""

from torch import Tensor, uint8

from restore.data.source import Item, Source
from restore.types import InputError


def read_item(source: Source, index: int) -> Item:
    """Image `index` of a source.

    Raises:
        InputError: a file that cannot be read, or an image that is not what `Item` says.
    """
    try:
        given = source[index]
    except OSError as error:
        said = str(error) if error.strerror is None else f"{error.filename}: {error.strerror}"
        kind = type(source).__name__
        raise InputError(f"image {index} of {kind} cannot be read: {said}") from error
    return checked(given, source)


def checked(given: Item, source: Source) -> Item:
    """The item; InputError where it is not what `source` has to give.

    Framing, augmentation and scaling take any numbers, so that images in [0, 1] would train as
    black ones.
    """
    wrong = _wrong(given, source.channels)
    if wrong is None:
        return given
    raise InputError(
        f"{type(source).__name__} gave {wrong}: a source gives restore.data.source.Item(image, "
        f"label, name), its image a torch tensor of uint8 [{source.channels}, H, W]"
    )


def _wrong(given: object, channels: int) -> str | None:
    """What was given in the place of an item with a uint8 tensor [channels, H, W]; else None."""
    if not isinstance(given, Item):
        return f"a {type(given).__name__}"
    image: object = given.image
    if not isinstance(image, Tensor):
        return f"an image that is a {type(image).__name__}"
    if image.dtype != uint8 or image.ndim != 3 or len(image) != channels:
        return f"an image of {str(image.dtype).removeprefix('torch.')} {[*image.shape]}"
    return None if isinstance(given.name, str) else f"a name that is a {type(given.name).__name__}"
