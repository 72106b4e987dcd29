"""Arguments that name a server's configuration: a file, or a controller that has it."""

from __future__ import annotations

import argparse

from portlb_app.agent.errors import AgentError
from portlb_app.agent.source import Controller, File, Source


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("--config", metavar="LB.YAML", help="configuration of the load balancer; SIGHUP reads it again")
    parser.add_argument(
        "--controller", "--source", metavar="URL",
        help="controller to ask for its live configuration, every 10 s: unix:///PATH, https://HOST:PORT, or http:// on "
        "this host's loopback",
    )  # fmt: skip
    parser.add_argument("--token-file", metavar="FILE", help="with --controller: file with the token to show it")
    parser.add_argument(
        "--ca", metavar="FILE", help="with https: authority of the controller's certificate (default: the system's)"
    )
    parser.add_argument(
        "--insecure-http", action="store_true",
        help="trust a controller over plain http, whichever program answers, also on another host",
    )  # fmt: skip
    parser.add_argument(
        "--server", action="append", default=[], metavar="NAME",
        help="this host's name in the configuration; may be repeated, for servers of different VIPs",
    )  # fmt: skip


def named_sources(given: argparse.Namespace) -> dict[str, Source]:
    """Return where the settings of each server named come from; none if no server is, and no configuration.

    AgentError unless there are servers and one configuration, or neither.
    """
    places = [each for each in (given.config, given.controller) if each is not None]
    if len(places) != bool(given.server):
        raise AgentError("say --config LB.YAML --server NAME, or --controller URL --server NAME")
    for name in given.server:
        if given.server.count(name) > 1:
            raise AgentError(f"--server {name} is given twice")
    if given.config is not None:
        return {name: File(given.config, name) for name in given.server}
    login = given.insecure_http, given.token_file, given.ca
    return {name: Controller(given.controller, name, *login) for name in given.server}
