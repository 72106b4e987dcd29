"""What the flags of `portlb controller` say."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

USUAL_SOCKET = "/run/portlb.sock"
"""The Unix socket of REST, unless another one is asked for."""


@dataclass(frozen=True)
class Settings:
    """How the controller runs. `openflow_host` and `rest_host` are addresses or names; port 0 is any that is free.

    `key`, `certificate` and `authorities` name files; switches connect by TLS if there is a certificate, and show one
    themselves if there are authorities. `certificate_binds_dpid`: a switch may only claim a datapath id that its
    certificate names. `rest_socket`: the path of a Unix socket; empty for none. `rest_tls` names a certificate and its
    key, `rest_authorities` those of client certificates, `rest_access` the file that says who has which role.
    `metrics`: address and port of the listener without a login. `ready_after`: seconds after which `/readyz` waits for
    no switch. `apps` are modules of other applications. `log_file`: None for standard error.
    """

    openflow_host: str
    openflow_port: int
    key: str | None
    certificate: str | None
    authorities: str | None
    certificate_binds_dpid: bool
    resync_seconds: float
    rest_host: str
    rest_port: int
    rest_socket: str
    rest_tls: tuple[str, str] | None
    rest_authorities: str | None
    rest_access: str | None
    metrics: tuple[str, int] | None
    ready_after: float | None
    apps: tuple[str, ...]
    is_verbose: bool
    log_file: Path | None
    log_format: Literal["text", "json"] = "text"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address or name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
