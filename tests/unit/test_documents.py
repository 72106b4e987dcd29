"""Every command that a document shows is run, or it is said why not; what is shown as its output is its output."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from portlb_app.cli import command, main
from tests.support.documents import DOCUMENTS, NOT_RUN, ROOT, RUN_BY_OVS, Shown, blocks, program_of, shown

PORTLB = [each for each in shown() if each.program == "portlb"]
ELSEWHERE = ("controller", "agent")
"""Subcommands that need switches or interfaces: tests/ovs and tests/net run them. Here their flags are read."""
SAMPLES_ELSEWHERE = {"portlb agent redirect --interface eth0 --from :1 --to 2": "tests/net/test_agent_redirect.py"}


def test_every_command_is_run_somewhere() -> None:
    """What no test runs has a reason, and every reason is for something that is shown."""
    programs = {each.program for each in shown()}
    assert {"portlb", *RUN_BY_OVS} <= programs
    assert programs - {"portlb", *RUN_BY_OVS} == set(NOT_RUN)


def test_no_block_hides_a_command() -> None:
    """A block that begins with a command has nothing but commands and comments, or one command with its output."""
    for path, lines in blocks():
        is_sample = lines[0].startswith("$ ") or "{" in lines or not all(lines[1:2])
        if program_of(lines[0]) and not is_sample:
            assert not [line for line in lines if line and line[0] not in " #" and not program_of(line)], path.name


@pytest.mark.parametrize("each", PORTLB, ids=lambda each: f"{each.document}: {each.line}")
def test_portlb_takes_what_is_shown(
    each: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where lb.yaml is that of FIG. 2."""
    words = each.words[1:]
    if words[0] in ELSEWHERE:
        command.parser(words[:1]).parse_args(words)
        assert each.output is None or each.line in SAMPLES_ELSEWHERE
        return
    shutil.copy(ROOT / "flows/fig2/lb.yaml", tmp_path)
    (tmp_path / "flows").symlink_to(ROOT / "flows")
    monkeypatch.chdir(tmp_path)
    if words == ["--version"]:
        with pytest.raises(SystemExit):
            main(words)
        return
    assert main(words) == 0
    printed = capsys.readouterr().out.rstrip("\n").splitlines()
    assert printed and each.output in (None, tuple(printed))


def test_files_that_documents_name_are_there() -> None:
    """Modules below portlb_app, and paths from the top."""
    for path in DOCUMENTS:
        if path.name in ("testing.md", "limits.md"):  # they name files and constants of their subject by the last part
            continue
        for name in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|h|c|md|sh|yaml|service|cfg))`", path.read_text()):
            places = (ROOT / name, ROOT / "portlb_app" / name, path.parent / name)
            if not name.startswith("/") and "NAME" not in name:
                assert any(place.exists() for place in places), f"{path.name}: {name}"
