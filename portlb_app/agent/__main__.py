"""`python3 -m portlb_app.agent`: the agents alone, for hosts that have nothing but Python and libbpf."""

import argparse
import os
import sys

from portlb_app.agent import cli
from portlb_app.agent.errors import AgentError

parser = argparse.ArgumentParser(prog="portlb")
cli.register(parser.add_subparsers(required=True))
arguments = parser.parse_args(["agent", *sys.argv[1:]])
try:
    code = arguments.run(arguments)
    sys.stdout.flush()
except AgentError as error:
    sys.exit(f"portlb agent: {error}")
except BrokenPipeError:  # `… | head` has seen enough: no message, not when Python ends either
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    code = 1
sys.exit(code)
