"""The long proofs on switches, in their short forms: that they run, and that what they promise holds at this size.

The full ones are `python -m tests.soak.NAME`.
"""

from __future__ import annotations

import pytest

from tests.soak import clients, crashes, kills, large_network, openflow, replies, schema


def test_a_network_changes_while_rest_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Every answer to a PUT is true by what the switches hold, and no switch leaves."""
    words = "--switches 8 --servers 24 --ports 48 --flaps 0 --rest 5".split()
    assert large_network.main(words) == 0, capsys.readouterr().out


def test_a_controller_outlives_crashes_of_the_switch(capsys: pytest.CaptureFixture[str]) -> None:
    """Afterwards it looks at all switches, and repairs what somebody deletes."""
    assert crashes.main("--crashes 3 --switches 8".split()) == 0, capsys.readouterr().out


def test_a_killed_controller_has_what_it_acknowledged(capsys: pytest.CaptureFixture[str]) -> None:
    """Configuration, states, and the end of every change."""
    assert kills.main("--kills 5 --longest 0.3".split()) == 0, capsys.readouterr().out


def test_damaged_openflow_messages_cost_honest_switches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Some in every state of a connection; whether an honest switch waits is looked at closely in the long form."""
    assert openflow.main("--messages 6000 --delay 2".split()) == 0, capsys.readouterr().out


def test_switches_that_tell_much_at_once_wait(capsys: pytest.CaptureFixture[str]) -> None:
    """Memory is bounded, whatever they tell while nothing takes it."""
    assert replies.main("--switches 24 --seconds 4".split()) == 0, capsys.readouterr().out


def test_hostile_clients_hold_up_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing waits for one of them: the shortest time that they may take is 5 s. The long form looks closely."""
    assert clients.main("--seconds 4 --delay 4".split()) == 0, capsys.readouterr().out


def test_answers_are_what_the_document_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Of every operation, asked soundly and not; that each change is made is for the long form, which asks enough."""
    assert schema.main("--requests 160".split()) == 0, capsys.readouterr().out
