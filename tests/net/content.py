"""Random files to be transferred, and their digests: quickly made, however large."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

PIECE = 1 << 20
"""Random bytes that a file repeats, with another number in front each time."""


def random_file(path: Path, size: int, algorithm: str) -> str:
    """Write `size` bytes, of which no two mebibytes are the same; return their digest by an algorithm of hashlib."""
    digest, piece = hashlib.new(algorithm), os.urandom(min(size, PIECE))
    with open(path, "wb") as file:
        for at in range(0, size, PIECE):
            part = (at.to_bytes(8, "big") + piece[8:])[: size - at]
            digest.update(part)
            file.write(part)
    return digest.hexdigest()
