"""Cases that are programs of their own, run as they are."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.bench.figures import Case
from tests.net.network import ROOT

PROGRAMS: dict[str, tuple[str, str]] = {
    "control": ("tests.bench.control", "Control plane"),
    "punt": ("tests.bench.punt", "Packets handed up"),
    "agents": ("tests.bench.agents", "Agents"),
}
"""Their modules and titles."""
_QUICK = {
    "control": ("1000", "1"),
    "punt": ("--rounds", "1", "--seconds", "1", "--puts", "1"),
    "agents": ("--rounds", "1", "--samples", "1", "--families", "4", "--patience", "0.3"),
}


def run_program(name: str, quick: bool) -> Case:
    """Run one to its end; AssertionError with what it complains of if it fails."""
    module, title = PROGRAMS[name]
    words = (sys.executable, "-m", module, *(_QUICK[name] if quick else ()), *(("--json",) if name == "agents" else ()))
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{module}: {done.stderr}"
    case = Case(name, title, f"`python -m {module}`; its head says what it does.")
    if name == "agents":
        of_agents(case, json.loads(done.stdout))
    else:
        case.printed = done.stdout
    return case


def of_agents(case: Case, told: dict[str, list[dict[str, object]]]) -> None:
    """The figures of `tests.bench.agents`, by its JSON."""
    case.variants = {"without": "client and server joined by veth", "agents": "the same with agents on both"}
    for each in told["figures"]:
        unit = str(each["unit"])
        title = f"IPv{each['family']} {each['name']}{': processor' if unit.startswith('CPU') else ''}"
        figure = case.figure(title, unit.removeprefix("CPU "), "without")
        for variant, key in (("without", "without"), ("agents", "with_agents")):
            values = each[key]
            assert isinstance(values, list)
            for value in values:
                figure.add(variant, value)
