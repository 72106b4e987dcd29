"""Alternatives that are nothing but tables of the bridge."""

from __future__ import annotations

from collections.abc import Mapping

from tests.bench.alternative import Alternative
from tests.bench.stage import CONNECTORS, NETWORK, PORT, SERVERS, VIP

GROUP = 1
_TO_VIP = f"in_port={NETWORK},tcp,nw_dst={VIP},tp_dst={PORT}"


class Tables(Alternative):
    """Flows, and perhaps one group that is the pool."""

    def flows(self) -> list[str]:
        """What stays when the pool changes."""
        raise NotImplementedError

    def bucket(self, server: str) -> str:
        """What a bucket of a server does."""
        return f"output:{CONNECTORS[server]}"

    def group(self) -> str:
        """The pool."""
        raise NotImplementedError

    def start(self) -> None:
        """Fill the bridge."""
        self.stage.clear()
        self.recover()

    def recover(self) -> None:
        """Fill the bridge."""
        self.stage.install(self.flows(), [self.group()])

    def choose(self, weights: Mapping[str, int]) -> None:
        """Change the group."""
        self.weights = weights
        self.stage.change(self.group())

    def _select(self, method: str) -> str:
        buckets = ",".join(
            f"bucket=bucket_id:{CONNECTORS[name]},weight:{100 * weight},actions={self.bucket(name)}"
            for name, weight in self.weights.items()
            if weight
        )
        return f"group_id={GROUP},type=select,selection_method={method},{buckets}"


def _back() -> list[str]:
    return [f"priority=100,in_port={port},ip actions=output:{NETWORK}" for port in CONNECTORS.values()]


class Plain(Tables):
    """No balancing at all: the limit."""

    name, about = "plain", "plain forwarding by the input port to one server: the limit"

    def expected(self) -> set[str]:
        """One server has everything."""
        return {"a"}

    def recover(self) -> None:
        """Fill the bridge."""
        there = f"priority=100,in_port={NETWORK},ip actions=output:{CONNECTORS['a']}"
        self.stage.install([there, f"priority=100,in_port={CONNECTORS['a']},ip actions=output:{NETWORK}"])


class Static(Tables):
    """What it costs the servers' core that there are four of them."""

    name, about = "static", "flows that name the server by two bits of the client's port: four servers, no group"

    def recover(self) -> None:
        """Fill the bridge."""
        ports = list(CONNECTORS.values())
        there = [f"priority=100,{_TO_VIP},tp_src={i << 1:#x}/0x6 actions=output:{ports[i]}" for i in range(4)]
        self.stage.install([*there, *_back()])


class DpHash(Tables):
    """A group that the datapath hashes for."""

    name, about = "dp_hash", "a `select` group by `dp_hash`, without redirect"
    method = "dp_hash"

    def flows(self) -> list[str]:
        """To the group, and back."""
        return [f"priority=100,{_TO_VIP} actions=group:{GROUP}", *_back()]

    def group(self) -> str:
        """A bucket for each server, by weight."""
        return self._select(self.method)


class Hash(DpHash):
    """A group that ovs-vswitchd hashes for."""

    name, about = "hash", "a `select` group by `hash`, without redirect: a datapath flow for each connection"
    method = "hash"

    def group(self) -> str:
        """The same, by address and port."""
        return self._select("hash,fields(ip_src,tcp_src)")


class Conntrack(Tables):
    """What OVN compiles ``ct_lb`` to: new connections to a group whose buckets commit with a translated address."""

    name = "conntrack"
    about = "the shape of OVN's `ct_lb`: `ct(nat)`, and a `dp_hash` group that commits with `nat(dst=…)`; one zone"
    zone = 1

    def bucket(self, server: str) -> str:
        """Remember the connection with its server."""
        return f"ct(commit,zone={self.zone},table=3,nat(dst={SERVERS[server]}:{PORT}))"

    def group(self) -> str:
        """A bucket for each server, by weight."""
        return self._select("dp_hash")

    def flows(self) -> list[str]:
        """Both directions pass conntrack; new connections pass the group."""
        return [
            f"table=0,priority=100,in_port={NETWORK},ip actions=ct(table=1,zone={self.zone},nat)",
            *(f"priority=100,in_port={port},ip actions={self.answer(name)}" for name, port in CONNECTORS.items()),
            f"table=1,priority=120,ct_state=+new+trk,tcp,nw_dst={VIP},tp_dst={PORT} actions=group:{GROUP}",
            "table=1,priority=100,ct_state=+est+trk,ip actions=goto_table:3",
            f"table=2,priority=100,ip actions=output:{NETWORK}",
            *(f"table=3,priority=100,ip,nw_dst={SERVERS[name]} actions={self.deliver(name)}" for name in SERVERS),
        ]

    def answer(self, server: str) -> str:
        """What comes from a server."""
        return f"ct(table=2,zone={self.zone},nat)"

    def deliver(self, server: str) -> str:
        """What goes to a server."""
        return f"output:{CONNECTORS[server]}"


class TwoZones(Conntrack):
    """With the server's port tracked, too, as OVN's logical switches do with access control lists."""

    name = "conntrack, two zones"
    about = "the same with a zone of the server's port, too, as OVN does where there are ACLs"

    def answer(self, server: str) -> str:
        """The server's zone first."""
        return f"ct(table=5,zone={10 + CONNECTORS[server]})"

    def deliver(self, server: str) -> str:
        """The server's zone last."""
        return f"ct(table=4,zone={10 + CONNECTORS[server]})"

    def flows(self) -> list[str]:
        """As before, with what is new committed in the server's zone."""
        made = super().flows()
        for name, port in CONNECTORS.items():
            commit = f"ct(commit,zone={10 + port}),output:{port}"
            made.append(f"table=4,priority=110,ct_state=+new+trk,ip,nw_dst={SERVERS[name]} actions={commit}")
            made.append(f"table=4,priority=100,ct_state=+est+trk,ip,nw_dst={SERVERS[name]} actions=output:{port}")
        made.append(f"table=5,priority=100,ct_state=+est+trk,ip actions=ct(table=2,zone={self.zone},nat)")
        return made
