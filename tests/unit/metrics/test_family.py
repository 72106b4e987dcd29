"""The text of a metric, read by the client library's own parser; and that of agents, by promtool."""

from __future__ import annotations

import subprocess

from hypothesis import given
from hypothesis import strategies as st

from portlb_app.agent import counters
from portlb_app.agent.report import Entries, prometheus
from portlb_app.metrics.family import family, one_of, single
from tests.support.scrapes import read_scrape


@given(st.dictionaries(st.text(max_size=20), st.integers() | st.floats(allow_nan=False), max_size=5))
def test_any_text_is_a_label(rows: dict[str, float]) -> None:
    """Also quotes, backslashes and ends of lines; and any number a value."""
    scrape = read_scrape(family("link_up", (((name,), value) for name, value in rows.items())))
    assert scrape.kinds == {"portlb_link_up": "gauge"}
    found = {dict(key)["link"]: value for key, value in scrape.values.get("portlb_link_up", {}).items()}
    assert found == rows


def test_truth_is_a_number() -> None:
    assert single("config_verified", True).endswith("\nportlb_config_verified 1\n")
    rows = one_of(("up", "down"), {("s1",): "up"})
    assert list(rows) == [(("s1", "up"), True), (("s1", "down"), False)]
    assert family("switch_state", [(("s1", "up"), False)]).endswith('{switch="s1",state="up"} 0\n')


def test_promtool_finds_nothing_to_say_of_agents() -> None:
    meanings = counters.meanings()
    found = {role: (dict.fromkeys(meanings, 1), {"connections": Entries(1, 2)}) for role in ("client", "server")}
    text = "\n".join(prometheus("eth0", found, meanings)) + "\n"
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
