"""What switches have counted."""

from __future__ import annotations

from portlb_app.api.models import Count, Model


class Counter(Model):
    """Packets and their bytes, as they were last read."""

    packets: Count
    bytes: Count
    at: float
    """When they were read: Unix seconds. Of several that were, the first."""


class BothWays(Model):
    """What has gone to servers and come from them since the controller has started; null: it was not read yet."""

    to_server: Counter | None
    from_server: Counter | None


class Passed(Model):
    """Packets and their bytes."""

    packets: Count
    bytes: Count


class OfPorts(Model):
    """What all ports of a switch have counted since they were made."""

    received: Passed
    sent: Passed
    lost: Count
    """Packets dropped, or in error."""
    at: float
    """Unix seconds."""
