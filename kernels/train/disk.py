"""Writes files whole or not at all, and says in one line what to do when the disk refuses."""

import os
from pathlib import Path

from failures import Failure


def write_whole(path, data):
    """`data` (bytes or text) under `path`; until all of it is on the disk, the old file stays."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Failure(
            f"cannot write {path}: {error.strerror}; make room or choose another folder"
        ) from error
