"""``make soak``: every soak with its default arguments, one after the other; exit code 1 if a promise of one fails.

``python -m tests.soak NAME…`` runs those.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ENDS = "sys.exit(main())"
"""How a soak ends; what else is here are parts of soaks."""


def soaks() -> list[str]:
    """The names of all soaks."""
    here = sorted(Path(__file__).parent.glob("*.py"))
    return [path.stem for path in here if path.read_text().rstrip().endswith(_ENDS)]


def main(names: list[str]) -> int:
    """Run them in processes of their own, and say which failed."""
    failed = []
    for name in names or soaks():
        print(f"\n=== {name}", flush=True)
        if subprocess.run((sys.executable, "-m", f"tests.soak.{name}")).returncode:
            failed.append(name)
    print(f"\n{', '.join(failed)} failed" if failed else "\nall promises held")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
