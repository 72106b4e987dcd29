"""Runs the programs that set the kernel, `ip` and `nft`, with bounds on time and output."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading

from portlb_app.agent.errors import AgentError

WITHIN = 5.0
"""Seconds."""
MOST = 1 << 18
"""Bytes of output."""
_SHOWN = 400
_PACKAGES = {"ip": "iproute2", "nft": "nftables"}


class ProgramError(AgentError):
    """A program has refused; the message is what it says."""


def run(program: str, *words: str, text: str = "") -> str:
    """Return what a program prints, which reads `text`.

    ProgramError if it fails; AgentError if it is not there, takes too long or prints too much.
    """
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                (program, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=_environment()
            )
        except FileNotFoundError:
            raise AgentError(f"MPTCP needs the program {program} (Debian package {_PACKAGES[program]})") from None
        except OSError as error:
            raise AgentError(f"{program}: {error}") from error
        assert process.stdin is not None and process.stdout is not None
        limit = threading.Timer(WITHIN, process.kill)
        limit.start()
        try:
            with process:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(text.encode())
                    process.stdin.close()
                output = process.stdout.read(MOST + 1)
                if len(output) > MOST:
                    process.kill()
        finally:
            limit.cancel()
        if len(output) > MOST:
            raise AgentError(f"{program} {words[0]}: more than {MOST} bytes of output")
        if process.returncode < 0:
            raise AgentError(f"{program} {' '.join(words)}: ended by signal {-process.returncode}")
        if process.returncode:
            errors.seek(0)
            said = errors.read(_SHOWN).decode(errors="replace").strip()
            raise ProgramError(f"{program} {' '.join(words)}: {said or process.returncode}")
    return output.decode(errors="replace")


def _environment() -> dict[str, str]:
    """Administration programs are found, and speak English."""
    return {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"}
