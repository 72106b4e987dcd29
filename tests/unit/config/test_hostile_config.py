"""Configurations made to harm: time and memory do not grow with the square of the text, and what is said is bounded."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from portlb_app.config import ConfigError, load
from portlb_app.config.problems import MAX_PROBLEMS
from portlb_app.config.text import MAX_BYTES, MAX_KEY, MAX_NODES, MAX_SCALAR

ROOT = Path(__file__).parents[3]
SMALL = """
switches: {s1: {dpid: 1, network: 1}}
vips: {web: {address: 10.0.0.100, mac: "02:00:00:00:00:64"}}
servers: {a: {vip: web, connector: s1:2}}
"""
CPU_SECONDS = 60
"""A limit the slowest machine keeps: each text takes about a second here; before, hours."""
MEGABYTES = 200


def mistakes(text: str) -> list[str]:
    """What is said about a text."""
    with pytest.raises(ConfigError) as caught:
        load(text)
    return [str(problem) for problem in caught.value.errors]


def whole(head: str, units: str, tail: str) -> str:
    """An expression for a text of 4 MiB, or with as many values as a text may have, of many units (of `{i}`)."""
    return f"fill({head!r}, {units!r}, {tail!r})"


MAC = "02:00:00:00:00:01"
TEXTS = {
    "long keys given twice": f"'? ' + 'k' * {MAX_BYTES // 2} + '\\n: {{' + 'a: 1, ' * {MAX_BYTES // 16} + '}}'",
    "long paths": "'{' + ', '.join(('k' * 60 + ': {') * 12 + 'a: 1, a: 1' + '}' * 12 for _ in range(4000)) + '}'",
    "unknown keys": whole("vips: {w: {", "k{i}: 1, ", "}}"),
    "given twice": whole("vips: {w: {", "k: 1, ", "}}"),
    "VIPs and servers of one MAC address": "fill('vips: {', \"v{i}: {{mac: '%s'}}, \", '}', 14000) + '\\n' + "
    "fill('servers: {', \"s{i}: {{mac: '%s'}}, \", '}', 360000)" % (MAC, MAC),
    "service ports": whole("servers: {a: {vip: w, connector: 's:1', service_ports: [", "1,", "]}}"),
    "links": whole("links: [", "1,", "]"),
    "directives": "fill('', '%TAG !a{i}! t:\\n', '--- {}')",
    "keys that collide": "fill('a: {', '{c}: 1, ', '}')",
}
PROGRAM = """
import resource, sys, time
from portlb_app.config import ConfigError, load
def fill(head, unit, tail, size=MAX_BYTES):
    parts, left, i = [head], size - len(head) - len(tail), 0
    while (left := left - len(part := unit.format(i=i, c=i * ((1 << 61) - 1)))) >= 0 and i < MAX_NODES // 2 - 9:
        parts.append(part)
        i += 1
    return "".join(parts) + tail
load(SMALL)
TEXT
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    load(text)
    print("accepted")
except ConfigError as error:
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    print(len(error.errors), len(str(error)), grown, round(time.process_time() - start, 2))
"""


@pytest.mark.parametrize("which", TEXTS)
def test_time_and_memory_are_bounded(which: str) -> None:
    """4 MiB of what used to grow with the square, in a process of its own."""
    program = PROGRAM.replace("TEXT", f"text = {TEXTS[which]}").replace("SMALL", repr(SMALL))
    program = program.replace("MAX_BYTES", str(MAX_BYTES)).replace("MAX_NODES", str(MAX_NODES))
    done = subprocess.run(
        ["prlimit", f"--cpu={CPU_SECONDS}", "--as=2000000000", sys.executable, "-c", program],
        **{"capture_output": True, "text": True, "timeout": 300, "cwd": ROOT},
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr[-500:]
    errors, length, grown, _ = done.stdout.split()
    assert 1 <= int(errors) <= MAX_PROBLEMS + 1
    assert int(length) < 200_000
    assert int(grown) < MEGABYTES


def test_of_many_mistakes_the_first_are_told_and_the_rest_counted() -> None:
    pools = ", ".join(f"{port}: {{servers: [nobody]}}" for port in range(1, 131))
    text = SMALL.replace('"02:00:00:00:00:64"', f'"02:00:00:00:00:64", redirect_ports: {{{pools}}}')
    told = mistakes(text)
    assert len(told) == MAX_PROBLEMS + 1
    assert told[0] == "vips.web.redirect_ports.1.servers[0]: there is no server nobody"
    assert told[-1] == "and 30 more"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (f"{'k' * MAX_KEY}: 1", None),
        (f"{'k' * (MAX_KEY + 1)}: 1", "line 1, column 1: a key has 65 characters; 64 are the most"),
        (f"a: {'v' * (MAX_SCALAR + 1)}", "line 1, column 4: a value has 257 characters; 256 are the most"),
        ("4294967296: 1", "line 1, column 1: a number as a key has at most 32 bits"),
        (f"a: [{'1,' * MAX_NODES}]", f"the configuration has more than {MAX_NODES} values"),
        ("\N{BOM}%YAML 1.2\n---\na: 1", "directives (lines that begin with %) are not supported"),
        ("a: 1\r%TAG ! x", "directives (lines that begin with %) are not supported"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_too_long_is_refused_where_it_begins(text: str, mistake: str | None) -> None:
    told = mistakes(text)
    if mistake is None:
        assert told[0].startswith("k" * MAX_KEY + ": unknown key")
    else:
        assert len(told) == 1 and mistake in told[0]


@pytest.mark.parametrize("keys", ['13: a, "13": drop', "13: a, 0xd: drop"])
def test_one_key_in_two_spellings_is_given_twice(keys: str) -> None:
    text = SMALL.replace('"02:00:00:00:00:64"', f'"02:00:00:00:00:64", icmp: {{types: {{{keys}}}}}')
    assert mistakes(text) == ["vips.web.icmp.types.13: is given twice"]


def test_what_is_quoted_is_printable() -> None:
    r"""A name of ``\e[2J`` clears no terminal, and a line break begins no line of its own in a log."""
    text = SMALL + 'links: ["\\e[2J\\nservers.b: no mistakes"]\n"\\e[1m": 1\n'
    told = mistakes(text.replace("vip: web", 'vip: "\\e[31mweb"'))
    assert "servers.a.vip: there is no VIP \\x1b[31mweb" in told
    assert "\\x1b[1m: unknown key" in told
    assert all(line.isprintable() for line in told)


def test_numbers_have_an_end() -> None:
    for number in ("1e999", ".nan", ".inf", "2001-12-14", "9" * 21, "0xffffffffffffffff", "-1", "257"):
        text = SMALL.replace("connector: s1:2", f"connector: s1:2, weight: {number}")
        (told,) = mistakes(text)
        assert told.startswith("servers.a.weight: "), number


def test_a_text_that_lost_its_line_breaks_is_explained() -> None:
    """`curl --data @lb.yaml` takes them out; also where all that is left is a comment."""
    hint = "the text is one line; if curl sent it, --data took the line breaks out, and --data-binary keeps them"
    for text in (SMALL, "# a comment: first" + SMALL):
        (told,) = mistakes(text.replace("\n", ""))
        assert hint in told
    for text in ("{", "[1: ", "a: b: c\nd: 1", "7"):
        assert hint not in mistakes(text)[0]


def test_mistakes_travel_between_processes() -> None:
    error = ConfigError((("a", "b"),))  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(error)).errors == error.errors
