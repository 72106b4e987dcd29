"""What a sub-command needs to add itself to the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable

AddCommand = Callable[[str, str], argparse.ArgumentParser]
"""Takes a name and a summary."""
