"""Priority tags (VLAN number 0) on the wire: the hosts take such frames for untagged ones, and so do agents."""

from __future__ import annotations

import subprocess

import pytest

from tests.net.network import agent_stats, until
from tests.net.objects import attach, compiled
from tests.net.world import OWN, Y, world

TAG = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
SEC("tc") int tag(struct __sk_buff *skb)
{{
    return bpf_skb_vlan_push(skb, bpf_htons({protocol:#x}), {tag:#x}) ? 2 : -1;
}}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("beside", [True, False], ids=["beside the frame", "within"])
def test_priority_tags(family: int, beside: bool) -> None:
    """Whatever the router sends is tagged: redirects, service ports and plain ports work all the same."""
    with world(family=family) as made:
        made.agents()
        tag = compiled(made.network.directory, "tag", TAG.format(protocol=0x8100, tag=0xA000))
        attach(made.router, tag, egress="tag", interfaces=("left", "right"))
        if not beside:
            for interface in ("left", "right"):
                made.router.run("ethtool", "-K", interface, "txvlan", "off")
        seen = made.client.popen("tcpdump", "-i", "eth0", "-c", "1", "-w", "/dev/null", "vlan", stderr=subprocess.PIPE)
        assert seen.stderr is not None
        until(lambda: b"listening" in seen.stderr.readline(), "tcpdump listens")
        assert made.get() == "odd\n"
        assert seen.wait(timeout=10) == 0, "there are tags"
        assert made.get(Y) == made.get(OWN) == "odd\n"
        client, server = (agent_stats(host) for host in (made.client, made.server))
        assert (client["bound"], client["confirmed"], server["announced"], server["redirected"]) == (1, 1, 1, 1)
