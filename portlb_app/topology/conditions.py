"""What is true of a network now, and its configuration does not say."""

from __future__ import annotations

from dataclasses import dataclass, replace

from portlb_app.config import Config, Link


@dataclass(frozen=True)
class Conditions:
    """One value for all of it: a configuration and its conditions decide the tables of every switch.

    `links_down`: links that no packet may be sent by.
    """

    links_down: frozenset[Link] = frozenset()

    def of(self, config: Config) -> Conditions:
        """What of it is about a configuration."""
        return replace(self, links_down=self.links_down.intersection(config.links))


AS_CONFIGURED = Conditions()
"""All links work."""
