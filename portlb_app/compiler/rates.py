"""The meters of a VIP's services with a rate."""

from __future__ import annotations

from portlb_app.openflow import Meter

Service = tuple[str, int]
"""A service of a VIP: the kind of port, and the port."""


class Rates(dict[Service, Meter]):
    """The meter of each service; never changed once it is made."""

    def __hash__(self) -> int:  # type: ignore[override]
        return len(self)
