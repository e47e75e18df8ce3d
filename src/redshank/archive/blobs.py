"""Bytes on disk under their SHA-256: written once, synced before they are called kept, never changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from redshank.core.errors import BadInput


class BlobStore:
    """Files `ROOT/ab/cd/abcd…`. Several processes may write; the same bytes twice are one file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Keep `data` and give its SHA-256 in hex. It is on disk when this returns.

        Raises OSError (ENOSPC and the like), leaving nothing half-written.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self.path(digest)
        if path.exists():
            return digest
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return digest

    def put_file(self, source: Path) -> tuple[str, int]:
        """Keep the file `source` by moving it here; give its SHA-256 in hex and its size in bytes.

        Raises OSError like `put`. `source` is gone afterwards.
        """
        with source.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            os.fsync(file.fileno())
        path = self.path(digest)
        if path.exists():
            source.unlink()
            return digest, size
        path.parent.mkdir(parents=True, exist_ok=True)
        source.replace(path)
        return digest, size

    def new_file(self) -> Path:
        """A fresh path on the store's own disk, to write into and then `put_file`."""
        folder = self.root / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        os.close(handle)
        return Path(name)

    def path(self, sha256: str) -> Path:
        """Where the bytes of `sha256` lie, or would. Raises BadInput for what is no SHA-256 in lower-case hex."""
        if len(sha256) != 64 or not all(letter in "0123456789abcdef" for letter in sha256):
            raise BadInput("not a SHA-256", where=sha256[:80])
        return self.root / sha256[:2] / sha256[2:4] / sha256

    def derived(self, sha256: str) -> Path:
        """The folder for what is made of the bytes of `sha256`, such as previews. It goes when they go."""
        return self.path(sha256).with_name(sha256 + ".derived")

    def delete(self, sha256: str) -> None:
        """Delete the bytes of `sha256` and what was made of them; nothing happens where they are not there."""
        self.path(sha256).unlink(missing_ok=True)
        shutil.rmtree(self.derived(sha256), ignore_errors=True)
