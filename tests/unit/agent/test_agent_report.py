"""What the agents tell people and machines."""

from __future__ import annotations

from collections import Counter

import pytest

from portlb_app.agent import capabilities, counters, report
from portlb_app.agent.report import Chain, Entries


def test_groups_are_of_counters_that_exist() -> None:
    """Each counter has one group at most, and none is misspelt."""
    grouped = Counter(name for members in report._GROUPS.values() for name in members.split())
    assert set(grouped.values()) == {1}
    assert not set(grouped) - set(counters.meanings())


def test_what_aged_was_forged_or_fell_back_is_called_so() -> None:
    """The words of the log are about these counters at least."""
    wanted = {
        "bound": "redirected", "redirected": "redirected", "moved": "redirected",
        "fallen_back": "fallen back", "tried_both": "fallen back",
        "collision": "refused", "wrong_port": "refused", "refused_announcement": "refused",
        "swept_closing": "aged", "swept_opening": "aged", "swept_idle": "aged",
        "forged_synack": "forged", "second_synack": "forged", "forged_announcement": "forged",
    }  # fmt: skip
    assert {name: report.GROUP_OF[name] for name in wanted} == wanted


def test_nothing_moved() -> None:
    """Then there is nothing to say."""
    assert report.rates({"bound": 7, "collision": 0}, {"bound": 7, "collision": 0}, 60) == ""
    assert report.rates({}, {}, 60) == ""


def test_rates_are_per_second_of_what_moved() -> None:
    """Over the time that has passed, with three digits; groups in order, counters unknown before counted from 0."""
    before = {"syn_marked": 100, "bound": 0, "collision": 5, "icmp_translated": 0, "swept_idle": 3, "fallen_back": 1}
    after = {"syn_marked": 1_200_100, "bound": 90, "collision": 5, "icmp_translated": 2, "swept_idle": 4,
             "fallen_back": 1, "forged_synack": 7407}  # fmt: skip
    assert report.rates(before, after, 60) == (
        "opened: syn_marked 20000; redirected: bound 1.5; aged: swept_idle 0.0167; forged: forged_synack 123; "
        "other: icmp_translated 0.0333"
    )
    assert report.rates({"bound": 0}, {"bound": 90}, 30) == "redirected: bound 3"


@pytest.mark.parametrize(
    ("attached", "pids", "all_known", "well", "words"),
    [
        (("ingress", "egress"), (7,), True, True, "attached; connections: 3 of 9 entries; process 7"),
        (("ingress", "egress"), (7, 8), False, True, "attached; connections: 3 of 9 entries; process 7, 8"),
        (("ingress", "egress"), (), False, True, "attached; connections: 3 of 9 entries; process unknown"),
        (("ingress", "egress"), (), True, False,
         "attached; connections: 3 of 9 entries; no process, so entries do not age"),
        (("egress",), (7,), True, False, "attached at egress only; connections: 3 of 9 entries; process 7"),
    ],
)  # fmt: skip
def test_health(attached: tuple[str, ...], pids: tuple[int, ...], all_known: bool, well: bool, words: str) -> None:
    """Well: both filters, and a process unless that cannot be known."""
    assert report.health(attached, {"connections": Entries(3, 9)}, pids, all_known) == (well, words)


@pytest.mark.parametrize(
    ("passes", "well", "word"), [(True, True, "lets"), (False, False, "keeps"), (None, True, "may")]
)
def test_health_names_other_programs(passes: bool | None, well: bool, word: str) -> None:
    """Not well only if one before is known to keep packets from the agent."""
    chains = [Chain("ingress", ("'f', id 7",), (), passes), Chain("egress", (), ("'g', id 8",))]
    found, words = report.health(("ingress", "egress"), {}, (7,), True, chains=chains)
    assert found is well
    assert f"at ingress another program runs before it ('f', id 7), and {word}" in words
    assert words.endswith("at egress another program runs behind it ('g', id 8)")


def test_totals_of_several_agents() -> None:
    assert report.total([{"a": 1, "b": 2}, {"a": 3}]) == {"a": 4, "b": 2}
    one, other = {"connections": Entries(1, 9)}, {"connections": Entries(2, 5), "half_open": Entries(0, 1)}
    entries = report.all_entries([one, other])
    assert entries == {"connections": Entries(3, 14), "half_open": Entries(0, 1)}


def test_counters_of_a_role() -> None:
    """Each is of one role at least, and those that both have are of both."""
    of = {name: [role for role in ("client", "server") if report.is_of(role, meaning)]
          for name, meaning in counters.meanings().items()}  # fmt: skip
    assert of["bound"] == ["client"] and of["announced"] == ["server"] and of["icmp_translated"] == ["client", "server"]
    assert all(of.values())


def test_prometheus_escapes_what_an_interface_may_be_called() -> None:
    """Linux allows almost anything in a name; the format wants three characters escaped."""
    values = {"client": ({"bound": 4}, {"connections": Entries(1, 2)})}
    lines = list(report.prometheus('e"t\\h', values, {"bound": "client: bound"}))
    assert lines == [
        "# HELP portlb_agent_bound_total client: bound",
        "# TYPE portlb_agent_bound_total counter",
        'portlb_agent_bound_total{interface="e\\"t\\\\h",role="client"} 4',
        "# HELP portlb_agent_entries entries in use, closed connections left out: they give way",
        "# TYPE portlb_agent_entries gauge",
        'portlb_agent_entries{interface="e\\"t\\\\h",role="client",map="connections"} 1',
        "# HELP portlb_agent_entries_max entries the map has room for",
        "# TYPE portlb_agent_entries_max gauge",
        'portlb_agent_entries_max{interface="e\\"t\\\\h",role="client",map="connections"} 2',
    ]


@pytest.mark.parametrize(
    ("mask", "missing"),
    [
        ("000001ffffffffff", []),
        ("0000000000201000", []),
        ("0000000000200000", ["CAP_NET_ADMIN"]),
        ("0000000000001000", ["CAP_SYS_ADMIN"]),
        ("000001ffffdfefff", ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]),
    ],
)
def test_missing_capabilities(mask: str, missing: list[str]) -> None:
    """Effective ones count, not those of the bounding set."""
    status = f"Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t{mask}\nCapBnd:\t000001ffffffffff\n"
    assert capabilities.missing_in(status) == missing
