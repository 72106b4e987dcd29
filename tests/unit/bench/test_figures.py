"""The arithmetic of benches: medians, ratios, what wrk prints, and a run as JSON and as a document."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app.compiler import compile as compile_tables
from portlb_app.config import load
from tests.bench.controllers import configuration
from tests.bench.document import document, drawn, picture, picture_name
from tests.bench.figures import Case, Figure, Run, cell, number, ratio_cell
from tests.bench.growth import masks
from tests.bench.load import parse
from tests.bench.programs import of_agents

VALUES = st.lists(st.none() | st.floats(0.001, 1e9), max_size=6)
WRK = """Running 1s test @ http://10.0.0.100:20/name
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.09ms    3.58ms  52.90ms   94.97%
    Req/Sec     8.11k     1.01k   10.01k    70.00%
  Latency Distribution
     50%  950.00us
     75%    4.53ms
     90%    1.25s
     99%    1.00m
  8114 requests in 1.02s, 1.41MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:   7954.90
Transfer/sec:      1.50MB
"""


def figure() -> Figure:
    """Two variants, three rounds, the second of which one did not finish."""
    made = Figure("new connections", "1/s", base="plain")
    for plain, other in ((100, 50), (200, None), (400, 300)):
        made.add("plain", plain)
        made.add("other", other)
    return made


def run() -> Run:
    """A run with a case of each kind."""
    first = Case("connections", "New connections", "About.", {"plain": "the limit", "other": "another"}, [figure()])
    return Run({"cores": 2, "versions": ["a 1", "b 2"]}, [first, Case("punt", "Punt", "About.", printed="a  1\n")])


def test_medians_and_ratios() -> None:
    """The ratio is that of the medians; its spread is of the rounds that both have."""
    made = figure()
    assert (made.median("plain"), made.median("other"), made.median("absent")) == (200, 175, None)
    assert (made.ratio("plain"), made.ratio("other"), made.ratio("absent")) == (1, 0.875, None)
    assert made.ratios("other") == [0.5, 0.75]
    assert cell(made, "other") == "175 (50..300)" and cell(made, "absent") == "-"
    assert ratio_cell(made, "other") == "0.88 (0.50..0.75)" and ratio_cell(made, "plain") == ""


def test_no_ratio_without_a_base_or_to_nothing() -> None:
    """A count of failures is no share of another one."""
    made = Figure("failed", "1")
    made.add("plain", 0)
    assert made.ratio("plain") is None and cell(made, "plain") == "0"
    made.base = "plain"
    assert made.ratio("plain") is None and ratio_cell(made, "plain") == ""


@given(VALUES, VALUES)
def test_the_spread_holds_its_median(plain: list[float | None], other: list[float | None]) -> None:
    """For any values, in any order, with gaps."""
    made = Figure("x", "1", {"plain": plain, "other": other}, "plain")
    for name, values in made.values.items():
        known = sorted(each for each in values if each is not None)
        median = made.median(name)
        assert (median is None) == (not known)
        if median is not None:
            assert known[0] <= median <= known[-1]
            assert sum(each <= median for each in known) * 2 >= len(known)
    assert len(made.ratios("other")) <= min(len(plain), len(other))


@given(st.floats(1e-6, 1e9))
def test_a_number_keeps_three_digits(value: float) -> None:
    """Or all before the point."""
    assert math.isclose(float(number(value)), value, rel_tol=0.0051)


def test_json_brings_a_run_back() -> None:
    """Whole, and not one of another version."""
    written = json.loads(json.dumps(run().to_json()))
    assert Run.from_json(written) == run()
    with pytest.raises(ValueError, match="version 2"):
        Run.from_json({**written, "version": 2})


def test_a_document_has_all_of_a_run() -> None:
    """Each median, each ratio, each variant, and a picture where there is one."""
    text = document(run())
    assert "| | new connections, 1/s | to plain |" in text and "| plain | 200 (100..400) |  |" in text
    assert "| other | 175 (50..300) | 0.88 (0.50..0.75) |" in text
    assert "- **other**: another" in text and "versions: a 1; b 2" in text and "```\na  1\n```" in text
    (case, _) = run().cases
    (one,) = drawn(case)
    assert f"]({picture_name(case, one)})" in text
    assert picture_name(case, one) == "bench-connections-new-connections.svg"
    assert picture(one).count("<rect") == 3 and "175 (0.88)" in picture(one)


def test_what_wrk_prints() -> None:
    """Requests, seconds, bytes, every kind of failure, and latencies in milliseconds."""
    done = parse(WRK)
    assert (done.requests, done.seconds, done.failed) == (8114, 1.02, 15)
    assert done.bytes_per_second == 1.5 * 1024**2
    assert done.latencies == pytest.approx({50: 0.95, 75: 4.53, 90: 1250.0, 99: 60_000.0})
    with pytest.raises(AssertionError, match="unable to connect"):
        parse("unable to connect to 10.0.0.100:20 Connection refused")


def test_what_the_bench_of_agents_tells() -> None:
    """Its pairs become variants, the rate and its cost a figure each."""
    case = Case("agents", "Agents", "")
    pairs = {"family": 4, "name": "bulk up", "without": [2, 4], "with_agents": [1, 3]}
    of_agents(case, {"figures": [{**pairs, "unit": "Gbit/s"}, {**pairs, "unit": "CPU ms/GB"}]})
    assert [(one.name, one.unit, one.ratios("agents")) for one in case.figures] == [
        ("IPv4 bulk up", "Gbit/s", [0.5, 0.75]),
        ("IPv4 bulk up: processor", "ms/GB", [0.5, 0.75]),
    ]


def test_configurations_have_as_many_service_ports_as_asked() -> None:
    """And their tables do not get more masks with them."""
    few, many = (load(configuration({"a": 1, "b": 3}, "balance", count)) for count in (10, 1000))
    assert [sum(len(server.service_ports) for server in each.servers) for each in (few, many)] == [10, 1000]
    assert masks(compile_tables(few)["s1"]) == masks(compile_tables(many)["s1"])
