"""The members of tar files, and a word for all that tarfile takes for an end."""

import tarfile
from collections.abc import Iterator
from typing import IO, Any, Literal, Self

_BLOCK = tarfile.BLOCKSIZE
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x5d\0\0": "lzma",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x1f\x9d": "compress",
    b"PK\3\4": "zip",
    b"7z\xbc\xaf": "7z",
}


class _Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            # tarfile passes over both zeros, which are no header, and headers that are damaged.
            if buf.strip(b"\0"):
                packed = next((_PACKED[magic] for magic in _PACKED if buf.startswith(magic)), None)
                if packed:
                    raise tarfile.CompressionError(
                        f"compressed ({packed}): unpack it to a plain .tar"
                    ) from None
                raise tarfile.ReadError(str(error)) from None
            raise


def open_tar(file: IO[bytes] | Any, mode: Literal["r:", "r|*"]) -> tarfile.TarFile:
    """A tar file for `members`. r: is a plain one, and r|* any, as a stream that only has `read`.

    Raises:
        tarfile.TarError: not a tar file; CompressionError for one that is compressed otherwise.
    """
    return tarfile.open(fileobj=file, mode=mode, ignore_zeros=True, tarinfo=_Header)


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """All headers, which are not kept; those of archives written one behind the other, too.

    Raises:
        tarfile.TarError: damaged, or without the two blocks of zeros that end an archive;
            CompressionError for a member that is stored without its zeros.
    """
    end = 0
    for entry in iter(tar.next, None):
        if entry.issparse():  # its holes are not in the archive
            raise tarfile.CompressionError("sparse: unpack it, and pack it without --sparse")
        if entry.offset < end or entry.offset_data <= entry.offset or entry.size < 0:
            raise tarfile.ReadError("overlapping members")
        end = entry.offset_data + -(-entry.size // _BLOCK) * _BLOCK
        yield entry
        tar.members.clear()  # type: ignore[attr-defined]
    if tar.offset < end + 2 * _BLOCK:
        raise tarfile.ReadError("no end of archive where the last member ends")
