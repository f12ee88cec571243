"""Read a file that somebody else wrote: plain and bounded, never a link, a device or a pipe."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Unreadable(ValueError):
    """A file that cannot be read as what it should be; the text says why."""


def plain(path: Path, limit: int) -> bytes:
    """Return the bytes of a plain file; Unreadable for a link, a device, or more bytes than the limit."""
    if path.is_symlink():
        raise Unreadable("it is a link; links are not followed")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        raise Unreadable(error.strerror or "it cannot be opened") from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise Unreadable("it is no plain file")
    with os.fdopen(handle, "rb") as file:
        raw = file.read(limit + 1) if status.st_size <= limit else b""
    if status.st_size > limit or len(raw) > limit:
        raise Unreadable(f"it has {max(status.st_size, limit + 1)} bytes, more than {limit}")
    return raw
