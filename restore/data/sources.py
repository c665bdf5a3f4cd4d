"""The sources of all splits, opened when they are first asked for; broken files are left out."""

from collections.abc import Callable
from typing import Any, Literal

from restore.data.cache import PhotoCache
from restore.data.item import count, make_source
from restore.data.part import Part, part
from restore.data.source import Divided, Source, Split, data_root
from restore.data.streaming import Streaming
from restore.data.survey import Broken, find_broken, summary
from restore.types import InputError


class Sources:
    """A source per split. on_error=skip decodes every image and leaves out what cannot be read,
    streams aside: what their shards hold is known only when they are read."""

    def __init__(
        self, source: Callable[..., Source], root: str | None, on_error: Literal["error", "skip"]
    ) -> None:
        if on_error not in ("error", "skip"):
            raise InputError(f"data.on_error={on_error} must be error or skip")
        self.source, self.root, self.on_error = source, root, on_error
        self._whole: dict[Split, Source] = {}  # before broken files are left out
        self._readable: dict[Split, Source] = {}
        self._broken: dict[Split, list[Broken]] = {}

    def make(self, split: Split) -> Source:
        """A source of its own, which has read no file yet."""
        return make_source(self.source, data_root(self.root), split)

    def __getitem__(self, split: Split) -> Source:
        """InputError where files are missing, or where none of them can be read."""
        if split not in self._readable:
            made = next((one for one in self._whole.values() if isinstance(one, Divided)), None)
            whole = self._whole[split] = self.make(split) if made is None else made.sibling(split)
            self._readable[split] = self._part(split, whole)
        return self._readable[split]

    def _part(self, split: Split, whole: Source) -> Source:
        if self.on_error == "error" or isinstance(whole, Streaming):
            return whole
        number = count(whole)
        found = self._broken[split] = find_broken(whole)
        if not found:
            return whole
        if len(found) == number:
            raise InputError(f"no image of the {split} split can be read: {found[0].reason}")
        bad = {one.number for one in found}
        return part(whole, [index for index in range(number) if index not in bad])

    def cache(self, split: Split, num_bytes: float) -> PhotoCache:
        """A cache of a split. It keeps nothing of sources that lie in memory as they are."""
        source = self[split]
        decodes = isinstance(source.source if isinstance(source, Part) else source, Divided)
        return PhotoCache(num_bytes if decodes else 0)

    def summary(self, *splits: Split, limit: int | None = None) -> dict[str, Any]:
        """What these splits hold, in plain values: see `restore.data.survey.summary`."""
        for split in splits:
            self[split]
        return summary({split: self._whole[split] for split in splits}, self._broken, limit)
