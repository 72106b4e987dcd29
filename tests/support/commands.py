"""Commands that a test runs to their end."""

from __future__ import annotations

import subprocess
from typing import Any


def run(*argv: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; AssertionError with what it printed if it fails. `options` are those of subprocess."""
    done = subprocess.run(argv, check=False, capture_output=True, **{"text": True, **options})
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done
