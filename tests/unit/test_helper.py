"""Helper processes: what ends early, says nothing or too little is an error with the reason, never an answer."""

from __future__ import annotations

import sys

import pytest

from tests.support.helper import Helper


def helper(program: str) -> Helper:
    return Helper(sys.executable, "-c", program)


def test_each_line_is_answered_and_the_rest_is_read_at_the_end() -> None:
    process = helper("print('ready 7', flush=True)\nfor line in map(str.strip, __import__('sys').stdin): "
                     "print(line * 2, flush=True)\nprint('over')")  # fmt: skip
    assert process.wait_ready() == "7"
    assert [process.tell("ab"), process.tell("c")] == ["abab", "cc"]
    process.say("d")
    assert process.finish() == "dd\nover\n"
    process.stdout.close()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise ConnectionResetError('by peer')", "ConnectionResetError: by peer"),
        ("print('read', end=''); raise SystemExit('half a line')", "half a line"),
        ("print(); input()", "an empty line"),
        ("input(); raise SystemExit('too late')", "nothing more within 0.5 s"),
    ],
    ids=["dead", "cut", "empty", "silent"],
)
def test_what_is_no_answer_fails_with_the_reason(program: str, said: str) -> None:
    process = helper(f"import sys\n{program}")
    with pytest.raises(AssertionError, match=said):
        process.line(0.5 if "too late" in program else 30)
    for stream in (process.stdin, process.stdout):
        stream.close()


@pytest.mark.parametrize("program", ["print('7'); raise SystemExit('after all')", "pass"], ids=["code", "empty"])
def test_an_output_counts_if_it_is_there_and_the_helper_ended_well(program: str) -> None:
    process = helper(program)
    with pytest.raises(AssertionError, match="after all" if "after" in program else "exit code 0"):
        process.finish()
    process.stdout.close()
