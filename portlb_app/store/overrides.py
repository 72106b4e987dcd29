"""``lb.yaml.overrides``, beside the configuration file: replaced whole, and never used in part.

It is staged and renamed as the configuration file is, with that one's owner, group and mode while it is new.
"""

from __future__ import annotations

from pathlib import Path

from portlb_app.config.overrides import NONE, Overrides
from portlb_app.config.overrides_text import dump, load
from portlb_app.store.file import ConfigFile, Staged

SUFFIX = ".overrides"


class OverridesFile:
    """The overrides of the configuration file `config`, in the directory of the name that was given for it."""

    def __init__(self, config: Path) -> None:
        self._file = ConfigFile(config.with_name(config.name + SUFFIX), model=config)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._file.path

    def read(self) -> Overrides:
        """What the file has, nothing if there is none; OSError, UnicodeDecodeError, ConfigError."""
        try:
            return load(self._file.read_again())
        except FileNotFoundError:
            return NONE

    def stage(self, overrides: Overrides) -> Staged:
        """Write overrides to the disk, beside the file; StoreError if that, or replacing the file, is impossible."""
        return self._file.stage(dump(overrides))

    def remove_left_over(self) -> None:
        """Remove what a killed controller staged and did not use."""
        self._file.remove_left_over()
