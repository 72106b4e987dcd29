"""The policies that a configuration chooses from: what happens to a kind of packet. Each value is a word of lb.yaml."""

from __future__ import annotations

import enum


class Legacy(str, enum.Enum):
    """What happens to a client without REDIRECT that opens on a redirect port (rows E3, E4)."""

    OWNER = "owner"
    """The server that owns the port as its service port gets it (E3)."""
    DEFAULT = "default"
    """The default server gets it (E4)."""
    BALANCE = "balance"
    """The pool's slots decide, without memory: a connection breaks if its slot moves (beyond the source)."""
    PIN = "pin"
    """The pool's slots decide once, and the switch remembers, within limits (beyond the source)."""
    DROP = "drop"
    """It is dropped (E4)."""


class DefaultFor(str, enum.Enum):
    """Which packets the default server gets (row E5)."""

    UNKNOWN_PORTS = "unknown_ports"
    """Every packet to a port without an owner."""
    PLAIN_UNKNOWN_PORTS = "plain_unknown_ports"
    """Packets without REDIRECT to a port without an owner."""
    PLAIN_CLIENTS = "plain_clients"
    """Packets without REDIRECT to a port without an owner, or to a redirect port that names no policy of its own."""


class IcmpErrors(str, enum.Enum):
    """Where an ICMP error about a packet of a server goes (rows I2, I3)."""

    OWNER = "owner"
    """The controller reads what the error quotes: the owner of the quoted port gets it."""
    REPLICATE = "replicate"
    """Every server gets a copy, and the one that knows the quoted connection acts on it; needs no controller."""
    DEFAULT = "default"
    """The default server gets it."""
    DROP = "drop"
    """It is dropped: path-MTU discovery does not work."""


class IcmpPolicy(str, enum.Enum):
    """Where ICMP that quotes nothing goes, above all pings (row I1)."""

    ANSWER = "answer"
    """The switch itself answers; pings only."""
    BALANCE = "balance"
    """A server of the VIP, by a hash of the packet's addresses."""
    DEFAULT = "default"
    """The default server."""
    DROP = "drop"
    """It is dropped."""


class UnknownErrors(str, enum.Enum):
    """Where an ICMP error about a port without an owner goes, if the controller reads errors (row I3)."""

    DROP = "drop"
    DEFAULT = "default"
    """The default server."""
    ANY = "any"
    """One server, chosen by a hash of what is quoted."""


class Fragments(str, enum.Enum):
    """Where the fragments of a packet to the VIP go (rows F1, F2, F3)."""

    TRACK = "track"
    """They follow their first, which goes where its ports lead (F1)."""
    REPLICATE = "replicate"
    """Every server gets a copy of each; needs no controller (beyond the source)."""
    DEFAULT = "default"
    """The default server gets them, whatever their ports (F3)."""
    DROP = "drop"
    """They are dropped (F3)."""


class UnknownFragments(str, enum.Enum):
    """Where a fragment goes whose first does not come, if fragments are tracked (row F2)."""

    DEFAULT = "default"
    """The default server."""
    DROP = "drop"


class Signal(str, enum.Enum):
    """How a SYN on a redirect port says that its client can be redirected."""

    FLAG = "flag"
    """By the REDIRECT bit of its header: the switch decides alone."""
    OPTION = "option"
    """By the bit, or by REDIRECT_OPT alone, for paths that clear the bit: the controller reads SYNs without it."""


class Wanted(str, enum.Enum):
    """What is wanted of a server: whether new connections may open at it, and whether it has service ports."""

    READY = "ready"
    DRAIN = "drain"
    """No new connections; open ones go on."""
    MAINT = "maint"
    """No new connections, and no service ports."""


class Forwarding(str, enum.Enum):
    """Open vSwitch's datapath below a bridge: where its packets are forwarded."""

    USERSPACE = "userspace"
    KERNEL = "kernel"


class Rewrite(str, enum.Enum):
    """What the load balancer rewrites in a packet to a VIP's server, and back in the server's packets."""

    NOTHING = "nothing"
    """All servers share the VIP's IP and MAC address (rows N3, N4)."""
    MAC = "mac"
    """Servers share the VIP's IP address; each has a MAC address of its own (row N2)."""
    ADDRESS = "address"
    """Each server has an IP address of its own, and may be behind a router (row N1)."""


class CheckKind(str, enum.Enum):
    """How a server is checked."""

    TCP = "tcp"
    """A TCP connection opens."""
    HTTP = "http"
    """An HTTP request gets an answer with a status, and a content, that is expected."""
    UDP = "udp"
    """A datagram gets an answer. Silence says nothing, unless an answer is expected; an ICMP error says that it fails.
    """
    PING = "ping"
    """An echo request gets an answer."""
    NONE = "none"
    """It is not checked."""


class Via(str, enum.Enum):
    """The way of a check to a server."""

    SERVICE = "service"
    """Through the tables that clients' packets pass, to a service port or service address, which names the server."""
    CONNECTOR = "connector"
    """Straight out of the port of the switch that leads to the server."""
