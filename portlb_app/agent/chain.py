"""Other programs on an agent's hooks, and whether packets pass them to the agent."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Collection, Mapping

from portlb_app.agent import hooks, interface, versions
from portlb_app.agent.kernel import object_file, prog
from portlb_app.agent.report import Chain

_EXPERIMENT = 0x88B5  # EtherType, IEEE 802 local experimental: nothing listens to it
_FRAMES = 3
_WITHIN = 1.0  # seconds for a frame to pass
_FLAGS = {"ingress": 1, "egress": 0}  # of bpf_clone_redirect


def look(name: str, attached: hooks.Attached, agents: Collection[int]) -> list[Chain]:
    """Look at the hooks of an agent on the interface `name`; `agents` are the ids of all agents' programs there.

    If another program runs before the agent, send frames of no protocol past both, and count which programs run.
    """
    index = interface.index_of(name)
    chains = [_order(index, direction, attached, agents) for direction in attached.programs]
    doubtful = [each.direction for each in chains if each.before]
    passes = _probe(name, index, {each: attached.programs[each] for each in doubtful}) if doubtful else {}
    return [
        Chain(each.direction, each.before, each.behind, passes.get(each.direction) if each.before else True)
        for each in chains
    ]


def _order(index: int, direction: str, attached: hooks.Attached, agents: Collection[int]) -> Chain:
    by_tcx = hooks.tcx_programs(index, direction)
    own = attached.programs[direction]
    filters = hooks.foreign_filters(index, direction)
    if own in by_tcx:
        at = by_tcx.index(own)
        before = [_named(each) for each in by_tcx[:at] if each not in agents]
        behind = [_named(each) for each in by_tcx[at + 1 :] if each not in agents] + [word for _, word in filters]
    else:
        before = [_named(each) for each in by_tcx if each not in agents]
        before += [word for is_before, word in filters if is_before]
        behind = [word for is_before, word in filters if not is_before]
    return Chain(direction, tuple(before), tuple(behind))


def _named(prog_id: int) -> str:
    return f"'{hooks.name_of(prog_id)}', id {prog_id}"


def _probe(name: str, index: int, programs: Mapping[str, int]) -> dict[str, bool]:
    """Return for each program whether a frame on its hook reaches it; nothing if the kernel does not count runs."""
    address = interface.mac_of(name)
    frame = address + address + struct.pack("!H", _EXPERIMENT) + bytes(46)
    found: dict[str, bool] = {}
    with contextlib.suppress(OSError), contextlib.closing(object_file.Object(str(versions.OBJECT_FILE))) as opened:
        opened.keep_only({"probe"}, set())
        opened.load()
        with prog.counted_runs():
            for direction, prog_id in programs.items():
                before, until = prog.run_count(prog_id), time.monotonic() + _WITHIN
                for _ in range(_FRAMES):
                    prog.run(opened.program_fd("probe"), frame, struct.pack("=48xII", index, _FLAGS[direction]))
                while (passed := prog.run_count(prog_id) > before) is False and time.monotonic() < until:
                    time.sleep(0.02)
                found[direction] = passed
    return found
