"""Side by side with what a user would pick instead: ``make bench``, or ``make bench QUICK=1`` (under five minutes).

    sudo .venv/bin/python -m tests.bench [CASE...] [--quick] [--rounds N] [--only NAME...] [--json FILE]

Cases: connections, bulk, state, broken, growth; control, punt and agents are programs of their own, which are run as
they are. Each case runs its alternatives in turn, round by round, each checked to serve before it is measured. Prints
medians, ratios and spread; writes all values to a JSON file, from which `tests.bench.document` makes
docs/benchmarks.md with its pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import broken, bulk, connections, growth, state
from tests.bench.alternative import Alternative
from tests.bench.controllers import Pinned, Portlb, Reactive, WithAgents
from tests.bench.document import text_of
from tests.bench.figures import Case, Run
from tests.bench.load import PATIENCE, Sampler
from tests.bench.machine import machine, versions
from tests.bench.programs import PROGRAMS, run_program
from tests.bench.proxies import HAProxy, Nftables, NginxStream
from tests.bench.stage import Stage, stage
from tests.bench.tables import Conntrack, DpHash, Hash, Plain, Static, TwoZones
from tests.net.network import ROOT

ALTERNATIVES: tuple[type[Alternative], ...] = (
    *(Plain, Static, Portlb, WithAgents, Pinned, DpHash, Hash, Conntrack, TwoZones),
    *(HAProxy, NginxStream, Nftables, Reactive),
)
SHORT: tuple[type[Alternative], ...] = (Plain, Portlb, WithAgents, Pinned, DpHash, Conntrack, HAProxy, Nftables)
"""Those of a quick run."""
OUTPUT = ROOT / ".cache/bench/run.json"
DATAPATH = "Open vSwitch's userspace datapath (netdev) on veth, one thread without PMD, checksums by the hosts"


class Bench:
    """A run on one stage."""

    def __init__(self, options: argparse.Namespace, made: Stage, run: Run) -> None:
        quick = options.quick
        self._run, self._file = run, options.json
        self.rounds = options.rounds or (2 if quick else 5)
        self.sizes = [0, 1_000] if quick else [0, 1_000, 50_000]
        self.ports = [10, 1_000] if quick else [10, 1_000, 50_000]
        self.open = 60 if quick else 400
        self.stage = made
        self.sampler = Sampler(made, 1.0 if quick else 3.0, 0.3 if quick else PATIENCE)
        kinds = SHORT if quick and not options.only else ALTERNATIVES
        self.failures: list[str] = []
        self.kinds = [kind for kind in kinds if not options.only or kind.name in options.only]

    @contextlib.contextmanager
    def told(self, one: Alternative, what: str) -> Iterator[None]:
        """An alternative that fails has no figure there; the run says so, ends with 1, and goes on with the others."""
        try:
            yield
        except AssertionError as error:
            if isinstance(error.__context__, SystemExit):  # what was told to end does not end in order
                raise error.__context__ from None
            first = str(error).partition("\n")[0]
            self.failures.append(f"{one.name}, {what}: {first}")
            print(f"{one.name}, {what}: {error}", file=sys.stderr, flush=True)
        save(self._run, self._file)  # a run takes long, and may be ended
        print(f"{what}: {one.name}", file=sys.stderr, flush=True)

    def samples(self, cases: Sequence[Case]) -> None:
        """Connections and bulk: both while an alternative is there, as to start one takes longer than to measure."""
        for _ in range(self.rounds):
            for kind in self.kinds:
                one = kind(self.stage)
                with self.told(one, "connections, bulk"), one.running():
                    for case in cases:
                        case.variants[one.name] = one.about
                        measure = connections.measure if case.name == "connections" else bulk.measure
                        measure(case, self.sampler, one)

    def state(self, case: Case) -> None:
        """State."""
        for kind in self.kinds:
            one = kind(self.stage)
            case.variants[one.name] = one.about
            with self.told(one, case.name):
                state.measure(case, self.stage, one, self.sizes)

    def broken(self, case: Case) -> None:
        """Broken connections."""
        for kind in self.kinds:
            one = kind(self.stage)
            case.variants[one.name] = one.about
            with self.told(one, case.name):
                broken.measure(case, self.stage, one, self.open)

    def growth(self, case: Case) -> None:
        """Growth."""
        several = [growth.Grown(self.stage, ports) for ports in self.ports]
        several.append(growth.Grown(self.stage, self.ports[0], growth.CLIENTS))
        for _ in range(self.rounds):
            for one in several:
                case.variants[one.name] = one.about
                with self.told(one, case.name), one.running():
                    growth.measure(case, self.sampler, one, several[0].name)

    def run(self, names: Sequence[str]) -> None:
        """The cases of these names that need the stage."""
        empty = {
            case.name: case
            for case in (
                connections.case(),
                bulk.case(),
                state.case(),
                broken.case(self.open),
                growth.case(self.ports),
            )
        }
        wanted = [case for name, case in empty.items() if name in names]
        self._run.cases += wanted
        sampled = [case for case in wanted if case.name in ("connections", "bulk")]
        if sampled:
            self.samples(sampled)
        for case in wanted:
            if case not in sampled:
                getattr(self, case.name)(case)


STAGED = ("connections", "bulk", "state", "broken", "growth")


def about(options: argparse.Namespace) -> dict[str, object]:
    """What the run is."""
    commands = (("ovs-vswitchd", "--version"), ("haproxy", "-v"), ("nginx", "-v"), ("nft", "--version"), ("wrk", "-v"))
    return {
        **machine(),
        "data path": DATAPATH,
        "versions": versions(*commands),
        "quick": options.quick,
        "date": time.strftime("%Y-%m-%d"),
        "load average at the beginning": [round(each, 2) for each in os.getloadavg()],
    }


def save(run: Run, file: Path) -> None:
    """Write down what there is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run.to_json(), indent=1), encoding="utf-8")


def main() -> int:
    """Measure, print, and write down."""
    known = (*STAGED, *(name for name, (module, _) in PROGRAMS.items() if importlib.util.find_spec(module)))
    parser = argparse.ArgumentParser(prog="tests.bench", description="Measure portlb beside its alternatives.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer alternatives, rounds and connections")
    parser.add_argument("--rounds", type=int, help="rounds of each alternative")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="alternatives by their names")
    parser.add_argument("--json", type=Path, default=OUTPUT, help="file to write (default %(default)s)")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(known):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the namespaces go too
    names = options.cases or known
    began = time.monotonic()
    run, failures = Run(about(options)), []
    if any(name in STAGED for name in names):
        with stage() as made:
            bench = Bench(options, made, run)
            bench.run(names)
            failures = bench.failures
            run.about |= {"failed": failures or "nothing", "samples": bench.sampler.samples}
            run.about |= {"samples during which others were at work": bench.sampler.disturbed}
            run.about |= {"seconds of a sample": bench.sampler.seconds, "rounds": bench.rounds}
    for name in names:
        if name in PROGRAMS:
            run.cases.append(run_program(name, options.quick))
    run.about["seconds"] = round(time.monotonic() - began)
    save(run, options.json)
    with contextlib.suppress(BrokenPipeError):
        print(text_of(run))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
