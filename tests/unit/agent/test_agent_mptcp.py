"""What the MPTCP agent makes of `lb.yaml`, and of what the kernel and its programs tell."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app.agent.errors import AgentError
from portlb_app.agent.mapping import mapping_of
from portlb_app.agent.mptcp import announced, counts, programs, ruleset, support
from portlb_app.agent.mptcp.announced import Announced
from portlb_app.agent.mptcp.endpoints import Endpoint, parse_endpoints, parse_subflows
from portlb_app.agent.mptcp.plan import Do, Step, left_over, limit, steps
from portlb_app.config import load

V4, V6, OWN4, OWN6 = map(ip_address, ("10.0.0.100", "fd00::100", "10.0.0.11", "fd00::11"))
TEXT = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web:
    address: [10.0.0.100, "fd00::100"]
    mac: "02:00:00:00:00:64"
    rewrite: %s
    redirect_ports: {80: {servers: [a], legacy: balance}}
servers:
  a: {vip: web, connector: "s1:2", service_ports: [{port: 1, application: 80}, 9001], mptcp: 9001%s}
"""
WITH_OWN = ', mac: "02:00:00:00:01:0b", address: [10.0.0.11, "fd00::11"]'
NOTHING, ADDRESS = TEXT % ("nothing", ""), TEXT % ("address", WITH_OWN)


def endpoint(number: int, address: object, port: int = 0, *flags: str) -> Endpoint:
    return Endpoint(number, ip_address(str(address)), port, frozenset(flags))


# ---- lb.yaml ----


def test_the_configuration_says_what_clients_are_told() -> None:
    """The VIP's addresses, and those that packets come to: the server's own where they are rewritten."""
    assert mapping_of(load(NOTHING), "a").mptcp == (Announced(V4, V4, 9001), Announced(V6, V6, 9001))
    assert mapping_of(load(ADDRESS), "a").mptcp == (Announced(V4, OWN4, 9001), Announced(V6, OWN6, 9001))
    assert mapping_of(load(NOTHING.replace(", mptcp: 9001", "")), "a").mptcp == ()


def test_there_is_room_for_four_addresses() -> None:
    """Each takes two of the kernel's eight places."""
    announced.check([Announced(V4, V4, port) for port in range(4)])
    with pytest.raises(AgentError, match="room for 4 addresses with MPTCP, not for 5"):
        announced.check([Announced(V4, V4, port) for port in range(5)])


# ---- what is to be done ----

WANTED = (Announced(V4, V4, 9001), Announced(V6, V6, 9001))
AS_WANTED = [
    endpoint(1, V4, 9001, "signal"), endpoint(2, V6, 9001, "signal"),
    endpoint(3, V4, 0, "backup"), endpoint(4, V6, 0, "backup"),
]  # fmt: skip


def after(todo: list[Step], present: list[Endpoint]) -> list[Endpoint]:
    """What a kernel has after these steps."""
    made = {each.id: each for each in present}
    for step in todo:
        number = step.id or max(made, default=0) + 1
        if step.do is Do.DELETE:
            del made[number]
        else:
            flags = {Do.ANNOUNCE: {"signal"}, Do.ADD_BACKUP: {"backup"}}.get(step.do)
            if flags is None:
                kept = made[number].flags - {"backup"}
                flags = kept | {"backup"} if step.do is Do.SET_BACKUP else set(kept)
            made[number] = endpoint(number, step.address, step.port, *flags)
    return list(made.values())


def test_from_nothing_to_what_is_wanted_and_back() -> None:
    """Announcements come first; at the end marks go before announcements, and endpoints that do nothing last."""
    todo = steps(WANTED, (), [])
    assert [step.do for step in todo] == [Do.ANNOUNCE] * 2 + [Do.ADD_BACKUP] * 2
    present = after(todo, [])
    assert present == AS_WANTED
    assert steps(WANTED, WANTED, present) == []
    todo = steps((), WANTED, present)
    assert [step.do for step in todo] == [Do.SET_NO_BACKUP] * 2 + [Do.DELETE] * 2
    left = after(todo, present)
    assert left_over(WANTED, left) == left == [endpoint(3, V4), endpoint(4, V6)]


def test_endpoints_of_others_stay() -> None:
    """A network manager's, for the same address, is marked and keeps its flags; other addresses' are not touched."""
    others = [endpoint(7, V4, 0, "subflow"), endpoint(8, OWN4, 5, "signal"), endpoint(9, OWN6, 0, "backup")]
    present = after(steps(WANTED, (), others), others)
    assert endpoint(7, V4, 0, "subflow", "backup") in present and present[1:3] == others[1:]
    back = after(steps((), WANTED, present), present)
    assert [each for each in back if each not in left_over(WANTED, back)] == others


def test_another_port_is_announced_before_the_former_goes() -> None:
    """A connection that reads of both has a way at any time."""
    todo = steps([Announced(V4, V4, 9005)], WANTED, AS_WANTED)
    assert todo[0] == Step(Do.ANNOUNCE, V4, 9005)
    assert [endpoint(5, V4, 9005, "signal"), AS_WANTED[2]] == sorted(
        (each for each in after(todo, AS_WANTED) if each.flags), key=lambda each: -each.port
    )


@pytest.mark.parametrize(("addresses", "present", "wanted"), [(1, 0, 2), (1, 2, 2), (1, 5, 5), (4, 2, 4), (4, 8, 8)])
def test_each_announcement_can_be_followed(addresses: int, present: int, wanted: int) -> None:
    """The limit never falls."""
    assert limit([Announced(V4, V4, 9001 + number) for number in range(addresses)], present) == wanted


# ---- nftables ----


def listing(text: str) -> str:
    """A table as nft lists it, indented by tabs."""
    lines = text.splitlines()[2:]
    depth, made = 0, []
    for line in lines:
        depth -= line == "}"
        made.append("\t" * depth + line)
        depth += line.endswith("{")
    return "\n".join(made)


def test_the_table_remembers_what_was_before() -> None:
    """Whatever its rules are; another table says nothing."""
    for wanted in ((), WANTED, mapping_of(load(ADDRESS), "a").mptcp):
        for subflows, join_initial in ((0, True), (2, False), (8, True)):
            found = ruleset.memory(listing(ruleset.text(wanted, subflows, join_initial)))
            assert found == (subflows, join_initial, ruleset.rules_of(wanted))
    for other in ("", "table inet portlb_mptcp {\n}", 'table inet x {\n\tcomment "subflows=9999 join=1 rules=0"\n}'):
        assert ruleset.memory(other) is None


def test_rules_are_for_ipv6_and_for_rewritten_addresses_only() -> None:
    """IPv4 without them needs none; what is rewritten is found in the listing."""
    assert "chain" not in ruleset.text(WANTED[:1], 2, True)
    six = ruleset.text(WANTED, 2, True)
    assert six.count("reset tcp option timestamp") == 1 and f"ip6 daddr {V6} " in six and "addr set" not in six
    both = ruleset.text(mapping_of(load(ADDRESS), "a").mptcp, 2, True)
    assert f"ip daddr {OWN4} tcp dport 9001 ip daddr set {V4}" in both
    assert f"ip6 saddr {V6} tcp sport 9001 ip6 saddr set {OWN6}" in both
    assert ruleset.rewritten(listing(both)) == [V4, V6] and ruleset.rewritten(listing(six)) == []
    assert ruleset.rules_of(WANTED) == ruleset.rules_of(WANTED[::-1]) != ruleset.rules_of(WANTED[:1])


# ---- what programs and the kernel tell ----


def test_endpoints_are_read() -> None:
    """As iproute2 prints them: an endpoint without a port, and one with flags that are not known here."""
    text = '[{"address":"10.0.0.100","port":9001,"id":1,"signal":true},'
    text += '{"address":"fd00::100","id":255,"backup":true,"new":1}]'
    assert parse_endpoints(text) == [endpoint(1, V4, 9001, "signal"), endpoint(255, V6, 0, "backup")]
    assert parse_endpoints("") == parse_endpoints("[]") == []
    assert len(parse_endpoints(json.dumps([{"address": "10.0.0.1", "id": 1}] * 1000))) == 256


@pytest.mark.parametrize(
    "text",
    ["nothing", "{}", "[1]", '[{"id":1}]', '[{"address":"10.0.0.1","id":0}]', '[{"address":"x","id":1}]', "[" * 100_000,
     '[{"address":"10.0.0.1","id":1,"port":65536}]', '[{"address":"10.0.0.1","id":"1"}]', '"text"', "null"],
)  # fmt: skip
def test_what_is_no_list_of_endpoints_is_refused(text: str) -> None:
    """With a message, and without an error of Python's."""
    with pytest.raises(AgentError, match="cannot be read"):
        parse_endpoints(text)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever a program prints."""
    for parse in (parse_endpoints, parse_subflows):
        try:
            parse(text)
        except AgentError:
            pass
    ruleset.memory(text)
    ruleset.rewritten(text)
    assert counts.parse(text).keys() == counts.MEANINGS.keys()


@pytest.mark.parametrize("text", ["add_addr_accepted 0 subflows 2 \n", '[{"add_addr_accepted":0,"subflows":2}]\n'])
def test_the_limit_is_read_as_text_and_as_json(text: str) -> None:
    """Versions of iproute2 differ."""
    assert parse_subflows(text) == 2
    with pytest.raises(AgentError):
        parse_subflows(text.replace("2", "two"))


def test_the_kernels_counters() -> None:
    """Found by their names; kernels have added some in the middle, and know others not yet."""
    text = "TcpExt: A\nTcpExt: 1\nMPTcpExt: MPCapableACKRX New MismatchPortSynRx MismatchPortAckRx\nMPTcpExt: 7 8 2 3\n"
    found = counts.parse(text)
    assert (found["mptcp_opened"], found["mptcp_join_misplaced"], found["mptcp_join_unknown"]) == (7, 5, 0)
    lines = list(counts.prometheus(found, {80: 2, 9001: 3}))
    assert "portlb_agent_mptcp_opened_total 7" in lines and 'portlb_agent_mptcp_subflows{port="9001"} 3' in lines
    assert counts.counts().keys() == counts.MEANINGS.keys()


def test_a_program_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In time and output; what it says when it refuses is the message; one that is not there is named."""
    assert programs.run("cat", text="odd\n") == "odd\n"
    with pytest.raises(programs.ProgramError, match="sh -c .*: no room"):
        programs.run("sh", "-c", "echo no room >&2; exit 3")
    monkeypatch.setattr(programs, "MOST", 1000)
    with pytest.raises(AgentError, match="more than 1000 bytes"):
        programs.run("sh", "-c", "yes")
    monkeypatch.setattr(programs, "WITHIN", 0.05)
    with pytest.raises(AgentError, match="ended by signal 9"):
        programs.run("sleep", "100")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(programs, "_environment", lambda: {"PATH": "/nonexistent"})
    with pytest.raises(AgentError, match="needs the program nft .Debian package nftables"):
        programs.run("nft", "list")


def test_a_kernel_without_mptcp_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each lack has a sentence that says what to do."""
    settings = tmp_path / "mptcp"
    monkeypatch.setattr(support, "_SETTINGS", settings)
    monkeypatch.setattr(support.capabilities, "require", lambda *_: None)

    def refused() -> str:
        with pytest.raises(AgentError) as caught:
            support.require()
        return str(caught.value)

    assert "no MPTCP" in refused()
    settings.mkdir()
    (settings / "enabled").write_text("0\n")
    assert "sysctl -w net.mptcp.enabled=1" in refused()
    (settings / "enabled").write_text("1\n")
    assert "Linux 5.14" in refused()
    (settings / support.JOIN_INITIAL).write_text("1\n")
    (settings / "pm_type").write_text("1\n")
    assert "net.mptcp.pm_type=0" in refused()
    (settings / "pm_type").write_text("0\n")
    support.require()
    assert support.join_initial()
    support.set_join_initial(False)
    assert not support.join_initial()
