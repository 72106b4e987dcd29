"""The whole loop on real parts: unmodified curl, redirected by a server's agent through Open vSwitch.

On one switch, and, where switches could matter, on trees of several with the same servers (rows T1, T2).
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from portlb_app.config import Config
from portlb_app.net.packets import Segment
from portlb_app.pipeline import SLOTS, pool_group, vip_number
from portlb_app.selection import move
from tests.net.balancer import BRIDGE, Balancer, Connections, Downloads, balancer, changed
from tests.net.network import ACK, CONFIRM, REDIRECT, ROOT, SYN, Namespace, agent_command, agent_stats, end, until
from tests.net.ssh import Login
from tests.net.wiring import ROUTERS
from tests.support import trees

FIG2 = (ROOT / "flows/fig2/lb.yaml").read_text().replace("10.0.0.100", '[10.0.0.100, "fd00::100"]')
BOTH = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
"""Whether a test is for both versions of IP (row B1); the others are for IPv4."""
SHAPES = pytest.mark.parametrize("running", ["single", "tree", "deep"], indirect=True)
"""Whether a test is for all shapes; the others are for one switch."""
DEEP = pytest.mark.parametrize("running", ["single", "deep"], indirect=True)
DOWNLOADS = 200
LOSS = """
table ip loss {
    chain forward {
        type filter hook forward priority 0
        ip length < 100 meta l4proto tcp numgen random mod 100 < 20 counter drop
    }
}
"""
AGENT_STATS = ("-m", "portlb_app.cli", "agent", "stats", "--interface", "eth0", "--format", "json")


@pytest.fixture(scope="module", params=["single"])
def running(request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """FIG. 2 with its agents, and one client with its agent."""
    with balancer(trees.shaped(FIG2, request.param)) as made:
        made.client_agent()
        made.datagrams((1, 5, 6, 22, 99))
        yield made


@pytest.fixture
def family() -> int:
    """The version of IP a test talks by, unless it says otherwise."""
    return 4


@pytest.fixture
def fig2(running: Balancer, family: int) -> Iterator[Balancer]:
    """The same, with the configuration of FIG. 2 in force before the test, whatever the one before it left."""
    running.put(running.text)
    yield running.speak(family)


def owners(config: Config) -> dict[int, str]:
    return {port: server.name for port, server in config.owners(config.vips[0]).items()}


@SHAPES
@BOTH
def test_u2_e2_d1_curl_is_redirected_on_the_wire(fig2: Balancer) -> None:
    """E2 steps 1-4 and D1: SYN and SYN/ACK name the redirect port, everything later the announced server's port."""
    for port in (20, 21, 22):
        with fig2.network.capture(fig2.client, "tcp") as seen:
            name = fig2.curl(fig2.url(port)).strip()
        up = [segment for segment in seen if segment.destination == fig2.address]
        down = [segment for segment in seen if segment.source == fig2.address]
        announced = down[0].announced
        assert announced is not None and owners(fig2.config)[announced] == name
        assert (up[0].dport, up[0].flags) == (port, SYN | REDIRECT | up[0].flags & 0x0C0)
        assert down[0].sport == port and down[0].flags & CONFIRM
        assert up[1].dport == announced and up[1].flags & CONFIRM and up[1].announced == port
        assert {segment.dport for segment in up[1:]} == {announced}
        assert {segment.sport for segment in down[1:]} == {announced}


@DEEP
@BOTH
def test_e1_a_service_port_is_confirmed_and_not_redirected(fig2: Balancer) -> None:
    """E1: CONFIRM without an option, and every packet stays on the service port."""
    with fig2.network.capture(fig2.client, "tcp") as seen:
        assert fig2.curl(fig2.url(9)) == "a\n"
    answer = next(segment for segment in seen if segment.source == fig2.address)
    assert answer.flags & CONFIRM and answer.announced is None
    assert {segment.dport for segment in seen if segment.destination == fig2.address} == {9}


@SHAPES
def test_c1_two_thousand_connections_leave_nothing_in_the_switch(fig2: Balancer) -> None:
    """C1: as many OpenFlow flows, groups and conntrack entries as before; and every server has its share (L1)."""
    fig2.curl(fig2.url(22))
    before, bound = fig2.held(), agent_stats(fig2.client)["bound"]
    output = fig2.curl(
        *("--parallel", "--parallel-immediate", "--parallel-max", "50"),
        *("--header", "Connection: close", fig2.url(22, "name?[1-2000]")),
    )
    counts = Counter(output.split())
    assert counts.total() == 2000
    assert agent_stats(fig2.client)["bound"] - bound == 2000, "as many connections were redirected"
    assert all(380 < counts[name] < 620 for name in "abcd"), counts  # 500 ± 6 standard deviations
    assert fig2.held() == before
    assert fig2.held()["conntrack"] == 0
    datapath = len(fig2.switch.appctl("dpif/dump-flows", BRIDGE).splitlines())
    assert datapath < 1000, "a datapath flow per connection"


def test_e2_five_hundred_downloads_with_lossy_handshakes(fig2: Balancer) -> None:
    """E2 under loss: the router drops 20 % of packets without data, both ways; 500 parallel downloads arrive.

    The kernel has no netem here: nftables drops by a random number, in the router's forwarding path. The client repeats
    its SYN every second instead of ever more rarely, or the unluckiest of 500 would take minutes.
    """
    for name in ("tcp_syn_linear_timeouts=50", "tcp_syn_retries=50"):
        fig2.client.run("sysctl", "-q", "-w", f"net.ipv4.{name}")
    digest = fig2.random_file("small", 100_000)
    fig2.router.nft(LOSS)
    into = fig2.network.directory / "downloads"
    into.mkdir()
    try:
        url = fig2.url(22, "small?[1-500]")
        fig2.curl(
            *("--parallel", "--parallel-immediate", "--parallel-max", "250", "--header", "Connection: close", "--fail"),
            *("--output", f"{into}/#1", url),
            seconds=120,
        )
        dropped = fig2.router.run("nft", "list", "table", "ip", "loss").stdout
    finally:
        fig2.router.run("nft", "delete", "table", "ip", "loss")
    got = [hashlib.sha256(path.read_bytes()).hexdigest() for path in into.iterdir()]
    assert len(got) == 500 and set(got) == {digest}
    lost = re.search(r"counter packets (\d+)", dropped)
    assert lost and int(lost[1]) > 500, dropped


@DEEP
@BOTH
def test_replacing_a_whole_pool_breaks_no_redirected_download(fig2: Balancer) -> None:
    """D1: pool 22 goes from a, b to c, d during 200 downloads from a and b: all arrive, new ones get c or d."""
    fig2.put(changed(fig2.text, {22: ["a", "b"]}))
    downloads = Downloads(fig2, 22, DOWNLOADS)
    fig2.put(changed(fig2.text, {22: ["c", "d"]}))

    def new() -> set[str]:
        return set(fig2.curl(fig2.url(22, "name?[1-20]"), "--header", "Connection: close").split())

    until(lambda: new() == {"c", "d"}, "new connections reach c and d alone")  # Open vSwitch may need half a second
    assert downloads.broken() == 0


@DEEP
def test_a_killed_controller_breaks_nothing_and_its_successor_changes_nothing(fig2: Balancer) -> None:
    """kill -9 of the controller during 200 downloads breaks none; the next one sends no flow-mod and no group-mod."""
    downloads = Downloads(fig2, 22, DOWNLOADS)
    log = fig2.switch.directory / "ovs-vswitchd.log"
    fig2.switch.appctl("vlog/set", "vconn:file:dbg")
    end(fig2.controller, signal.SIGKILL)
    assert fig2.curl(fig2.url(21)).strip() in {"b", "c", "d"}, "new connections work without a controller"
    mark = log.stat().st_size
    fig2.controller = fig2.start_controller()
    fig2.wait_synced()
    fig2.switch.appctl("vlog/set", "vconn:file:info")
    spoken = log.read_text()[mark:]
    assert downloads.broken() == 0
    assert "OFPST_FLOW" in spoken, "the log shows what the controller sent"
    assert not re.findall(r"received: OFPT_(?:FLOW_MOD|GROUP_MOD|BUNDLE\w*)", spoken)


@DEEP
def test_a_restarted_switch_breaks_no_redirected_download(fig2: Balancer) -> None:
    """C1: ovs-vswitchd is killed and comes back empty during 200 downloads; the controller fills it, all arrive."""
    downloads = Downloads(fig2, 22, DOWNLOADS)
    fig2.switch.stop_vswitchd()
    fig2.switch.start_vswitchd()
    fig2.wait_synced()
    assert downloads.broken() == 0


@DEEP
def test_e4_plain_clients_keep_their_server_unless_their_row_moved(fig2: Balancer) -> None:
    """E4 (balance): when pool 22 goes from a, b to a, c, exactly the plain connections whose slot moved break.

    So it is without a second chance.
    """
    data = yaml.safe_load(fig2.text)
    data["vips"]["web"]["redirect_ports"][22]["second_chance"] = False
    text = yaml.safe_dump(data)
    group = pool_group(vip_number("web"), 22, version=4)
    fig2.put(changed(text, {22: ["a", "b"]}))
    old = fig2.slots(22)
    connections = Connections(fig2, fig2.plain)
    placed = []
    for _ in range(40):
        before = fig2.row_packets(group)
        name = connections.open(22)
        after = fig2.row_packets(group)
        used = [slot for slot in range(SLOTS) if before[slot] != after[slot]]
        assert len(used) == 1, "one connection, one row"
        placed.append((name, used[0]))
    assert [old[slot] for _, slot in placed] == [name for name, _ in placed]
    assert all(connections.ask())
    fig2.put(changed(text, {22: ["a", "c"]}))
    new = fig2.slots(22)
    assert new == list(move(old, {"a": 1, "c": 1})), "as few as must"
    alive = connections.ask()
    assert alive == [old[slot] == new[slot] for _, slot in placed]
    assert 0 < sum(alive) < len(alive), "both kinds were there"


@SHAPES
@BOTH
def test_e4_plain_connections_outlive_changes_of_their_pool(fig2: Balancer) -> None:
    """E4 (balance): pool 22 goes from a, b to a, c and to c, d; a controller is killed in between. None breaks."""
    fig2.put(changed(fig2.text, {22: ["a", "b"]}))
    downloads, connections = Downloads(fig2, 22, 40, fig2.plain), Connections(fig2, fig2.plain)
    assert {connections.open(22) for _ in range(20)} == {"a", "b"}
    for pool in (["a", "c"], ["c", "d"]):
        fig2.put(changed(fig2.text, {22: pool}))
        assert all(connections.ask())
    end(fig2.controller, signal.SIGKILL)
    before = fig2.held()
    fig2.controller = fig2.start_controller()
    fig2.wait_synced()
    assert fig2.held() == before and before["conntrack"] == 0
    assert connections.open(22) in {"c", "d"}
    assert all(connections.ask())
    assert downloads.broken() == 0
    assert all(agent_stats(fig2.servers[name])["handed_back"] > 0 for name in "cd")
    connections.close()


@SHAPES
@BOTH
def test_e3_e4_plain_clients_get_what_the_port_says(fig2: Balancer) -> None:
    """E3 and E4: the owner, the default server, or nobody, by the redirect port's policy."""

    def ask(port: int) -> str:
        return fig2.plain.run("curl", "-sS", "--max-time", "20", fig2.url(port)).stdout.strip()

    assert ask(9) == "a", "a service port"
    dropped = fig2.plain.run("curl", "--silent", "--max-time", "1", fig2.url(20), check=False)
    assert (dropped.returncode, dropped.stdout) == (28, ""), "drop: no answer at all, not even a refusal"
    fig2.put(changed(fig2.text, {}, p20="default"))
    assert ask(20) == "d"
    owned = yaml.safe_load(fig2.text)
    owned["servers"]["b"]["service_ports"].append(20)
    fig2.put(yaml.safe_dump(owned))
    assert [ask(20) for _ in range(6)] == ["b"] * 6
    assert fig2.curl(fig2.url(20)).strip() in {"a", "b"}, "a client that can be redirected still gets the pool"


@SHAPES
@BOTH
def test_u1_u2_u3_udp(fig2: Balancer) -> None:
    """U1, U2, U3: a datagram reaches the owner of a service port, one of a pool, the default server."""
    assert [fig2.ask("udp", port, 1)[0] for port in (1, 5, 6, 99)] == ["a", "a", "b", "d"]
    assert len(set(fig2.ask("udp", 22, 12)) & set("abcd")) > 1


def redirected(fig2: Balancer, to: dict[str, int]) -> tuple[str, str, list[Segment]]:
    """Open at 20, have the server redirect, by its name, and open again; who answered, and the second opening."""
    connections = Connections(fig2, fig2.client)
    first = connections.open(20)
    words = ("redirect", "--interface", "eth0", "--from", f":{ANNOUNCED[first]}", "--to", str(to[first]))
    done = agent_command(fig2.servers[first], *words)
    assert (done.returncode, done.stdout) == (0, "1 connection: 1 followed\n"), done.stderr
    with fig2.network.capture(fig2.client, "tcp") as segments:
        second = connections.open(20)
    connections.close()  # or the next one's redirect would find it, too
    return first, second, [segment for segment in segments if segment.flags & SYN]


ANNOUNCED = {"a": 1, "b": 2}
"""What the servers of port 20 announce for it."""


@DEEP
@BOTH
def test_d3_to_another_server(fig2: Balancer) -> None:
    """D3: a connection on one server's port is told another's: the program's next one reaches that server."""
    before = {name: agent_stats(fig2.servers[name])["arrived"] for name in "ab"}
    first, second, (syn, synack) = redirected(fig2, {"a": 2, "b": 1})
    assert {first, second} == {"a", "b"}
    assert (syn.dport, syn.flags, syn.announced) == (ANNOUNCED[second], SYN | REDIRECT, ANNOUNCED[first])
    assert (synack.sport, synack.flags, synack.announced) == (ANNOUNCED[second], SYN | ACK | CONFIRM, None)
    assert agent_stats(fig2.servers[second])["arrived"] == before[second] + 1


@BOTH
def test_d4_to_a_redirect_port(fig2: Balancer) -> None:
    """D4: told a redirect port, the next connection goes to whom the switch selects, which announces its own port."""
    first, second, (syn, synack) = redirected(fig2, {"a": 20, "b": 20})
    assert (syn.dport, syn.flags, syn.announced) == (20, SYN | REDIRECT, ANNOUNCED[first])
    assert (synack.sport, synack.flags, synack.announced) == (20, SYN | ACK | CONFIRM, ANNOUNCED[second])


def test_e7_a_server_without_an_agent_behind_the_load_balancer() -> None:
    """E7: a client with the agent gets a plain connection at X, kept on the pool's slots by the REDIRECT bit."""
    with balancer(FIG2, agents=frozenset("acd")) as made:
        made.client_agent()
        made.put(changed(FIG2, {22: ["b"]}, p22="drop"))
        for family in (4, 6):
            made.speak(family)
            with made.network.capture(made.client, "tcp") as seen:
                assert made.curl(made.url(22)) == "b\n"
            up = [segment for segment in seen if segment.destination == made.address]
            assert up and {segment.dport for segment in seen if segment in up} == {22}
            assert all(segment.flags & REDIRECT for segment in up)


def test_two_hundred_megabytes_through_a_smaller_path_mtu() -> None:
    """D1, I2, N3, B1: a path of 1400 bytes behind a client whose MSS says 1500; all of it arrives."""
    with balancer(FIG2, mtu=1400) as made:
        made.client_agent()
        for family, size, client in ((4, 200_000_000, "10.1.0.2"), (6, 50_000_000, "fd00:1::2")):
            digest = made.speak(family).random_file("large", size)
            before = {name: translated(host) for name, host in made.servers.items()}
            name = made.download("large", digest, 22)
            assert "mtu 1400" in made.servers[name].run("ip", "route", "get", client).stdout
            assert translated(made.servers[name]) > before[name]


def translated(server: Namespace) -> int:
    """How many ICMP errors a server's agent has translated."""
    done = server.run(sys.executable, *AGENT_STATS, cwd=ROOT)
    return int(json.loads(done.stdout)["server"]["icmp_translated"])


def test_a1_an_administrator_logs_in_to_the_load_balancer(fig2: Balancer) -> None:
    """A1: the load balancer's own address leads to its host, by SSH; clients are served as before."""
    data = yaml.safe_load(fig2.text)
    data["switches"]["s1"]["address"] = "10.0.0.2"
    fig2.put(yaml.safe_dump(data))
    fig2.lb.run("ip", "address", "add", "10.0.0.2/24", "dev", BRIDGE)
    fig2.lb.run("ip", "link", "set", BRIDGE, "up")
    fig2.lb.run("ip", "route", "add", "default", "via", ROUTERS[0])
    login = Login(fig2.lb, fig2.network.directory)
    ssh = login.ssh(fig2.plain, "10.0.0.2", f"cat /sys/class/net/{BRIDGE}/ifindex")
    output, errors = ssh.communicate(timeout=30)
    assert (ssh.returncode, output) == (0, fig2.lb.run("cat", f"/sys/class/net/{BRIDGE}/ifindex").stdout), errors
    assert fig2.curl(fig2.url(22)).strip() in set("abcd")
    fig2.put(fig2.text)
    assert fig2.plain.run("ping", "-c", "1", "-W", "1", "10.0.0.2", check=False).returncode != 0, "not without it"
