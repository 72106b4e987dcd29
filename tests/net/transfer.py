"""A transfer by curl that lasts as long as a test needs: slow machines are not too late, fast ones do not wait."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from pathlib import Path
from typing import IO, Any

from tests.net.network import PATIENCE, Namespace, end

PERIOD = 0.05


class Transfer:
    """curl's output is read (or its input written) slowly, and three quarters of it at most, until `finish`.

    The last quarter has to be more than what kernels and curl keep, 10 MB.
    """

    def __init__(
        self, host: Namespace, *words: str, size: int, rate: int, upload: Path | None = None, **options: Any
    ) -> None:
        """Begin a transfer of `size` bytes, `rate` of them a second. `words` are curl's; `upload` is a file to send."""
        source = ("-T", "-") if upload else ()
        self._curl = host.popen(
            "curl", "-sS", "-f", "-m", "60", *source, *words,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options,
        )  # fmt: skip
        assert self._curl.stdin is not None and self._curl.stdout is not None
        self._file = upload.open("rb") if upload else None
        self._piece, self._slow = int(rate * PERIOD), size * 3 // 4
        self._digest, self._done, self._hurry = hashlib.md5(), 0, threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(self._curl.stdin, self._curl.stdout), daemon=True
        )
        self._thread.start()

    def finish(self) -> str:
        """Let it end; return the MD5 of what came (or was sent)."""
        self._hurry.set()
        self._thread.join()
        assert self._curl.wait(PATIENCE) == 0
        end(self._curl)
        return self._digest.hexdigest()

    def _work(self, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        try:
            self._transfer(stdin, stdout)
        except ValueError:
            if self._hurry.is_set():
                raise  # else the test has failed already, and its network closed our pipes

    def _transfer(self, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        while not self._hurry.wait(PERIOD):
            if self._done < self._slow and not self._one(self._piece, stdin, stdout):
                return  # curl has ended
        while self._one(1 << 20, stdin, stdout):
            pass
        if self._file:
            self._file.close()
        stdin.close()
        stdout.read()  # until it ends

    def _one(self, size: int, stdin: IO[bytes], stdout: IO[bytes]) -> int:
        data = self._file.read(size) if self._file else stdout.read(size)
        if self._file:
            stdin.write(data)
        self._digest.update(data)
        self._done += len(data)
        return len(data)
