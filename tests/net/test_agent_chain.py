"""Other people's programs on an agent's hooks: `portlb agent health` says which, and whether packets come through."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.network import ROOT, Namespace, Network, agent_command, client_agent
from tests.net.objects import attach, compiled

VIP = "10.0.0.100"
OTHERS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int ends(struct __sk_buff *skb) { return 0; }
SEC("tc") int lets_pass(struct __sk_buff *skb) { return -1; }
char LICENSE[] SEC("license") = "GPL";
"""
BY_CLSACT = (
    "from portlb_app.agent import hooks; hooks.has_tcx = lambda index: False; import portlb_app.agent.__main__",
    "client", "--interface", "eth0", "--vip", VIP,
)  # fmt: skip
HOOKS = ("ingress", "egress")


@pytest.fixture
def host() -> Iterator[tuple[Namespace, Path]]:
    with Network() as network:
        one, other = network.host("one"), network.host("other")
        network.link(one, other, ("10.0.0.1/24", f"{VIP}/24"))
        yield one, compiled(network.directory, "others", OTHERS)


def health(one: Namespace) -> tuple[int, str]:
    done = agent_command(one, "health", "--interface", "eth0")
    assert not done.stderr
    return done.returncode, done.stdout


def test_one_that_ends_the_chain(host: tuple[Namespace, Path]) -> None:
    """Attached before the agent: no packet comes to it, and that is not well. No traffic is needed to see it."""
    one, made = host
    attach(one, made, ingress="ends", egress="ends")
    client_agent(one, [VIP])
    code, text = health(one)
    for hook in HOOKS:
        assert f"at {hook} another program runs before it ('ends', id " in text
    assert (code, text.count("keeps packets from it")) == (1, 2), text


def test_one_that_lets_packets_pass(host: tuple[Namespace, Path]) -> None:
    """It is named, and all is well; so it is with one behind the agent, whatever that does."""
    one, made = host
    attach(one, made, ingress="lets_pass")
    client_agent(one, [VIP])
    attach(one, made, egress="ends")
    code, text = health(one)
    assert code == 0 and "at ingress another program runs before it ('lets_pass', id " in text
    assert "and lets packets pass to it" in text and "at egress another program runs behind it ('ends', id " in text


def test_one_attached_later(host: tuple[Namespace, Path]) -> None:
    """By tcx, where the agent is a tc filter: it runs before. Then a filter of a lower priority."""
    one, made = host
    one.popen_ready(sys.executable, "-c", *BY_CLSACT, cwd=ROOT)
    assert health(one)[0] == 0
    words = ("bpf", "direct-action", "object-file", str(made), "program")
    place = ("dev", "eth0", "egress", "protocol", "all")
    one.run("tc", "filter", "add", *place, "prio", "30000", *words, "ends")
    code, text = health(one)
    assert code == 0 and "at egress another program runs behind it (tc filter bpf of priority 30000)" in text
    one.run("tc", "filter", "add", *place, "prio", "1", *words, "ends")
    code, text = health(one)
    assert code == 1 and "at egress another program runs before it (tc filter bpf of priority 1), and keeps" in text
    one.run("tc", "filter", "del", *place, "prio", "1")
    assert health(one)[0] == 0
    attach(one, made, ingress="ends")
    code, text = health(one)
    assert code == 1 and "at ingress another program runs before it ('ends', id " in text


def test_filters_behind_tcx(host: tuple[Namespace, Path]) -> None:
    """Every tc filter is behind an agent attached by tcx, whatever its priority."""
    one, made = host
    client_agent(one, [VIP])
    one.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    words = ("prio", "1", "bpf", "direct-action", "object-file", str(made), "program", "ends")
    one.run("tc", "filter", "add", "dev", "eth0", "ingress", "protocol", "all", *words)
    code, text = health(one)
    assert code == 0 and "at ingress another program runs behind it (tc filter bpf of priority 1)" in text


@pytest.mark.parametrize("program", ["portlb_app.agent", "portlb_app.cli agent"])
def test_a_reader_that_has_seen_enough(host: tuple[Namespace, Path], program: str) -> None:
    """`stats | head -1`: no complaint."""
    one, _ = host
    client_agent(one, [VIP])
    words = f"{sys.executable} -m {program} stats --interface eth0"
    done = one.run("sh", "-c", f"({words}; echo $? >&2) | true", cwd=ROOT)
    assert (done.stdout, done.stderr) == ("", "1\n")


def test_stats_of_a_role(host: tuple[Namespace, Path]) -> None:
    """As text only the counters that the role can move, or only those that it has moved."""
    one, _ = host
    client_agent(one, [VIP])
    one.run("bash", "-c", f"timeout 0.2 bash -c '</dev/tcp/{VIP}/20' || true")
    text = agent_command(one, "stats", "--interface", "eth0").stdout
    assert " syn_marked " in text and " malformed " in text and "server:" not in text
    text = agent_command(one, "stats", "--interface", "eth0", "--nonzero").stdout
    assert [line.split()[:2] for line in text.splitlines()][0] == ["client", "agent"]
    assert {line.split()[1] for line in text.splitlines()[1:]} <= {"syn_marked", "plain", "from_old_port"}
    assert " syn_marked " in text
