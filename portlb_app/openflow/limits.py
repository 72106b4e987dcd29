"""Limits of a switch and of its protocol: what tables and packets must keep to, and why. Sizes are in bytes."""

from __future__ import annotations

MESSAGE = 65535
"""The longest OpenFlow message: its length has 16 bits (OpenFlow 1.5.1, 7.1.1)."""

LARGEST_FRAME = 9234
"""The largest frame that is handed up: an MTU of 9216, an Ethernet header and a VLAN tag.

Open vSwitch (seen in 3.1) puts a whole frame into a packet-in message, whatever ``max_len`` says, and lets the
message's length wrap.
"""

OUTPUTS = 1024
"""The most outputs of one packet-out message: at 16 bytes each, they and the largest frame fit into a message."""

FLOWS = 1 << 19
"""The most flows of ours in one switch. They are read back again and again, and each takes about a kilobyte here."""
MAX_VIPS = METERS_OF_A_KIND = 1 << 12
"""The most VIPs of a configuration, and meters of one kind in one switch: a VIP has one meter of each kind it needs."""
METERS = 13 * METERS_OF_A_KIND
"""The most meters of ours in one switch: for services' rates, for what servers hand back, and for eleven reasons to
hand packets up."""
GROUPS = 1 << 13
"""The most groups of ours in one switch. Each has up to 256 buckets; reading all of them takes up to 150 MB."""
ACTIONS = 1 << 22
"""The most actions of all flows and groups of ours in one switch; reading one takes about 150 bytes. Flows of ours have
two on average."""
WHILE_CHANGED = 2
"""A switch may hold this many times its target: old entries are deleted last, and a controller that was killed in
between finds old and new ones."""
READ_BYTES = 1 << 29
READ_MESSAGES = 1 << 15
"""The longest answer to a read of all flows or groups, in bytes and in messages. Twice 2^19 flows take half of the
messages; twice 2^13 groups of 256 buckets with rewritten addresses take three fifths of the bytes."""
WAITING_OF_ALL = 128 << 20
"""The most bytes of answers that wait to be read, of all switches together."""
WAITING_OF_ONE = 64 << 20
"""The same for one switch: 2^18 flows of 170 bytes take 43 MiB, so they wait here; of more, the rest in the switch."""
