"""`python3 -m portlb_app.agent`: the agents alone, for hosts that have nothing but Python and libbpf."""

import argparse
import sys

from portlb_app.agent import cli
from portlb_app.agent.errors import AgentError

parser = argparse.ArgumentParser(prog="portlb")
cli.register(parser.add_subparsers(required=True))
arguments = parser.parse_args(["agent", *sys.argv[1:]])
try:
    sys.exit(arguments.run(arguments))
except AgentError as error:
    sys.exit(f"portlb agent: {error}")
