"""Agents and commands of different versions, programs that only look like an agent's, and lists that change as they are
read: a sentence, never a wrong answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from tests.net.network import ROOT, Namespace, Network, agent_command, client_agent, end, until
from tests.net.objects import attach, compiled

VIP = "10.0.0.100"
FOREIGN = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {{ __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 300); __uint(key_size, 36);
     __uint(value_size, {size}); }} connections SEC(".maps");
static __always_inline int look(void)
{{
    char key[36] = {{}}, value[{size}] = {{1}};
    bpf_map_update_elem(&connections, key, value, BPF_ANY);
    return -1;
}}
SEC("tc") int client_ingress(struct __sk_buff *skb) {{ return look(); }}
SEC("tc") int client_egress(struct __sk_buff *skb) {{ return look(); }}
char LICENSE[] SEC("license") = "GPL";
"""
OTHER_VERSION = """
import pathlib, sys
from portlb_app.agent import versions
versions.OBJECT_FILE = pathlib.Path(sys.argv.pop(1))
import portlb_app.agent.__main__
"""
SYNS = """
import socket, struct, sys
source, destination = (socket.inet_aton(each) for each in sys.argv[1:3])
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("eth0", 0))
head = bytes.fromhex("020000000102020000000101") + struct.pack("!H", 0x0800)
head += struct.pack("!BBHHHBBH", 0x45, 0, 40, 7, 0, 64, 6, 0) + source + destination
print("ready", flush=True)
while True:
    for port in range(1024, 65024):
        sender.send(head + struct.pack("!HHIIHHHH", port, 20, 1, 0, 5 << 12 | 2, 64240, 0, 0))
"""
COMMANDS = (
    ("connections",), ("connections", "--format", "json"), ("stats",), ("stats", "--format", "prometheus"),
    ("health",), ("move", "--local-port", "50000", "--to", "700"),
)  # fmt: skip


@pytest.fixture
def host() -> Iterator[tuple[Network, Namespace]]:
    with Network() as network:
        one, other = network.host("one"), network.host("other")
        network.link(one, other, ("10.0.0.1/24", "10.0.0.100/24"))
        yield network, one


@pytest.mark.parametrize("more", [0, 4, 16, 4096])
def test_programs_that_only_have_our_names(host: tuple[Network, Namespace], more: int) -> None:
    """With a map of our name whose values are as large or larger: no command reads it, and an agent starts beside."""
    network, one = host
    # The stack of a program has 512 bytes: the largest one's value is not made there.
    size = 68 + more
    text = FOREIGN.format(size=size)
    if size > 300:
        text = text.replace(f"char key[36] = {{}}, value[{size}] = {{1}};", "char key[36] = {}, *value;")
        text = text.replace("bpf_map_update_elem(&connections, key, value, BPF_ANY);",
                            "value = bpf_map_lookup_elem(&connections, key); (void)value;")  # fmt: skip
    made = compiled(network.directory, "foreign", text)
    attach(one, made, ingress="client_ingress", egress="client_egress")
    one.run("ping", "-c", "1", "-W", "2", VIP)
    for words in COMMANDS:
        done = agent_command(one, words[0], "--interface", "eth0", *words[1:])
        assert (done.returncode, done.stdout) == (1, ""), (words, done)
        assert "no agent is attached to eth0" in done.stderr or "no client agent" in done.stderr
    client_agent(one, [VIP])
    assert agent_command(one, "connections", "--interface", "eth0", "--format", "json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("client/paths", "struct path {\n", "struct path {\n __u32 one_more;\n", "its map 'paths' has another layout"),
        ("connection", "SERVER_PORT_MOVING = 1 << 10,", "SERVER_PORT_MOVING = 1 << 25,", "the numbers in its map"),
    ],
    ids=["larger", "other meaning"],
)
def test_another_version_is_refused(
    host: tuple[Network, Namespace], file: str, old: str, new: str, what: str
) -> None:  # fmt: skip
    """By each command, with what differs; it stays as it is, and can be removed when its process is gone."""
    network, one = host
    made = compiled(network.directory, "other", **{file: (old, new)})
    words = ("client", "--interface", "eth0", "--vip", VIP)
    running = one.popen_ready(sys.executable, "-c", OTHER_VERSION, str(made), *words, cwd=ROOT)
    for each in COMMANDS:
        done = agent_command(one, each[0], "--interface", "eth0", *each[1:])
        assert (done.returncode, done.stdout) == (1, ""), (each, done)
        assert "is of another version than this command" in done.stderr and what in done.stderr, done.stderr
    done = agent_command(one, *words)
    assert (done.returncode, done.stdout) == (1, "") and "is of another version" in done.stderr
    assert "Stop it first" in done.stderr and running.poll() is None
    assert end(running, 3) == 0  # SIGQUIT leaves the programs
    assert agent_command(one, "detach", "--interface", "eth0").returncode == 0
    client_agent(one, [VIP])


def test_a_list_that_changes_while_it_is_read(host: tuple[Network, Namespace]) -> None:
    """Each connection once, and no more than twice as many as the map has room for; that it is cut is said."""
    _, one = host
    client_agent(one, [VIP], words=("--connections", "1024"))
    one.popen_ready(sys.executable, "-c", SYNS, "10.0.0.1", VIP, cwd=ROOT)

    def listed() -> int:
        done = agent_command(one, "connections", "--interface", "eth0", "--format", "json")
        assert done.returncode == 0, done.stderr
        names = [(each["client_port"], each["port"]) for each in json.loads(done.stdout)]
        assert len(names) == len(set(names)) <= 2 * 1024
        assert not done.stderr or "the list is cut" in done.stderr
        return len(names)

    until(lambda: listed() > 500, "the map is full")
    assert [listed() > 0 for _ in range(5)] == [True] * 5
