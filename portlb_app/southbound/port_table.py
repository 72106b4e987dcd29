"""The ports that a switch has, as it describes them: bounded. Pure."""

from __future__ import annotations

from portlb_app.openflow.messages import Port

PORTS, PORTS_UNKNOWN = 1 << 16, 1 << 10
"""Ports of a configured switch (Open vSwitch numbers at most 65,280), and of another one."""


class TooManyPorts(Exception):
    """A switch describes more ports than it may; str() says so."""


class PortTable(dict[int, Port]):
    """Ports by their OpenFlow numbers."""

    def update_port(self, port: Port, is_there: bool, is_configured: bool) -> bool:
        """Take a port's description; return whether it says something new. TooManyPorts if it is one too many."""
        before = self.get(port.number)
        if is_there:
            self[port.number] = port
        else:
            self.pop(port.number, None)
        most = PORTS if is_configured else PORTS_UNKNOWN
        if len(self) > most:
            text = f"it says it has more than {most} ports"
            raise TooManyPorts(text if is_configured else f"{text}, and is not in the configuration")
        return self.get(port.number) != before
