"""What a switch and its protocol have room for: every limit that tables and packets must keep to, and why.

Sizes are in bytes.
"""

from __future__ import annotations

MESSAGE = 65535
"""An OpenFlow message: its length has 16 bits (OpenFlow 1.5.1, 7.1.1)."""

LARGEST_FRAME = 9234
"""A frame that is handed up: an MTU of 9216, an Ethernet header and a VLAN tag.

Open vSwitch (seen in 3.1) puts a whole frame into a packet-in message, whatever ``max_len`` says, and lets the
message's length wrap.
"""

OUTPUTS = 1024
"""Outputs of one packet-out message: 16 bytes each, so that they and the largest frame fit into a message."""

FLOWS = 1 << 18
"""Flows of ours in one switch, to be read back again and again; each takes about a kilobyte here."""
MAX_VIPS = METERS_OF_A_KIND = 1 << 12
"""VIPs of a configuration, and meters of one kind in one switch: a VIP has one of each kind it needs."""
METERS = 11 * METERS_OF_A_KIND
"""Meters of ours in one switch: for services' rates, and for ten reasons to hand packets up."""
GROUPS = 1 << 13
"""Groups of ours in one switch; each has up to 256 buckets, so together they take up to 150 MB to be read back."""
WHILE_CHANGED = 2
"""So many times what it shall hold may a switch hold: what was there before is deleted last, and a controller that is
killed in between finds both."""
READ_BYTES = 1 << 29
READ_MESSAGES = 1 << 14
"""The most a switch may answer when it is asked for its flows, or its groups: twice 2^18 flows take half of the
messages, twice 2^13 groups of 256 buckets with rewritten addresses three fifths of the bytes."""
WAITING_OF_ALL = 128 << 20
"""Bytes of answers that wait to be read, of all switches."""
WAITING_OF_ONE = 64 << 20
"""The same of one switch: 2^18 flows of 170 bytes take 43 MiB, so they wait here and not in the switch."""
