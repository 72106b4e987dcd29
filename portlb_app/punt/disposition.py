"""What becomes of a packet that a switch hands up; each is counted under one disposition."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from portlb_app.pipeline import Reason


class Disposition(str, enum.Enum):
    """What became of a packet that was handed up."""

    SENT = "sent"
    """It was sent on."""
    DROPPED = "dropped"
    """The configuration says that it is dropped."""
    UNKNOWN = "unknown"
    """It is about a port without an owner, or its first fragment did not come. The default server got it, if any."""
    MALFORMED = "malformed"
    """It is cut off, contradicts itself, or is an error about an error: dropped."""
    NO_ROOM = "no_room"
    """A fragment, and too many wait for their first already: dropped."""
    QUEUE = "queue"
    """More packets came than the controller can judge, or the switch was gone before its packet's turn: dropped."""
    UNSENDABLE = "unsendable"
    """It is too long for a message with all its receivers: dropped."""
    ABSENT = "absent"
    """Its server's switch is not connected, or no link leads there: dropped."""
    MISPLACED = "misplaced"
    """A heartbeat of no server behind the port it came in by, or of which one cannot be said: ignored."""
    REPLAYED = "replayed"
    """A heartbeat that is not later than one before: ignored."""


Counts = Mapping[tuple[Reason, Disposition], int]
"""Packets by reason and disposition."""
