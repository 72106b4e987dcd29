"""Streams of events, as bytes. In a process of its own: Ryu patches Python."""

from __future__ import annotations

from tests.support.programs import Programs

PROGRAM = """
import json
import eventlet
from portlb_app.api.event_ring import EventRing
from portlb_app.controller import event_streams
from portlb_app.controller.event_streams import WAITING, EventStreams
from portlb_app.reconcile.happened import Happened

LINK = Happened("link", "a - b", "up", "down", "because")

def made():
    found = EventStreams(EventRing("ab"))
    for number in range(3):
        found.add(float(number), LINK)
    return found

def begun(streams, last, *kinds):
    stream = streams.follow(last, kinds)
    assert next(stream) == b"retry: 2000\\n\\n"
    return stream

def ids(piece):
    return [line[4:] for line in piece.decode().split("\\n") if line.startswith("id: ")]

def what_is_missing_comes_first(streams):
    piece = next(begun(streams, "ab-1"))
    assert ids(piece) == ["ab-2", "ab-3"]
    first = piece.decode().split("\\n\\n")[0].split("\\n")
    assert first[:2] == ["id: ab-2", "event: link"]
    assert json.loads(first[2].removeprefix("data: "))["object"] == "a - b"

def news_wake_a_stream(streams):
    stream = begun(streams, None)
    reader = eventlet.spawn(next, stream)
    eventlet.sleep(0)
    assert streams.open == 1
    streams.add(9.0, LINK)
    assert ids(reader.wait()) == ["ab-4"]
    stream.close()
    assert streams.open == 0

def nothing_is_missed_behind_the_first_piece(streams):
    stream = begun(streams, None)
    streams.add(9.0, LINK)
    assert ids(next(stream)) == ["ab-4"]

def a_reader_that_cannot_go_on_is_told(streams):
    for number, last in enumerate(("cd-1", "ab-9", "nonsense")):
        stream = begun(streams, last)
        reset = next(stream).decode()
        assert reset.startswith(f"id: ab-{number + 3}\\nevent: reset\\ndata: {{") and reset.endswith("}\\n\\n")
        streams.add(9.0, LINK)
        assert ids(next(stream)) == [f"ab-{number + 4}"]

def silence_is_shown_with_how_far_it_is(streams):
    event_streams.BEAT_SECONDS = 0.01
    stream = begun(streams, "ab-3", "pool")
    assert next(stream) == b": nothing happens\\nid: ab-3\\n\\n"
    streams.add(9.0, LINK)
    assert next(stream) == b": nothing happens\\nid: ab-4\\n\\n"

def a_reader_that_is_overtaken_is_told_and_left(streams):
    stream = begun(streams, "ab-0")
    next(stream)
    for _ in range(WAITING + 1):
        streams.add(9.0, LINK)
    assert b"event: reset" in next(stream)
    assert list(stream) == []
    assert streams.open == 0

def a_long_past_is_no_slowness(streams):
    for _ in range(2 * WAITING):
        streams.add(9.0, LINK)
    stream, found = begun(streams, "ab-0"), []
    while len(found) < 2 * WAITING + 3:
        found += ids(next(stream))
    assert found == [f"ab-{number}" for number in range(1, 2 * WAITING + 4)]

for each in (
    what_is_missing_comes_first, news_wake_a_stream, nothing_is_missed_behind_the_first_piece,
    a_reader_that_cannot_go_on_is_told, silence_is_shown_with_how_far_it_is,
    a_reader_that_is_overtaken_is_told_and_left, a_long_past_is_no_slowness,
):
    with eventlet.Timeout(20):
        each(made())
    print(each.__name__)
"""


def test_streams(ryu_programs: Programs) -> None:
    """They miss nothing silently, wake with news, and leave readers that are too slow."""
    done = ryu_programs.run(PROGRAM)
    assert done.returncode == 0 and len(done.stdout.split()) == 7, done.stderr
