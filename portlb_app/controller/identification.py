"""Who asks: by the Unix socket's other end, a token, a client certificate, or because only this machine can."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from portlb_app.api import messages
from portlb_app.api.identity import UNKNOWN, Identity, Role
from portlb_app.api.problem_details import failure
from portlb_app.controller.bodies import Environ
from portlb_app.controller.credentials import Credentials
from portlb_app.controller.login import Login
from portlb_app.southbound import tls

Identify = Callable[[Environ], Identity | messages.Response]
"""Who makes a request, or why that is not known."""
READER = Identity("", Role.READ)
"""Any client of a listener on which there is nothing but reading."""

_CREDENTIALS = struct.Struct("=iII")  # struct ucred: process, user, group
_LOGIN = {"WWW-Authenticate": 'Bearer realm="portlb"'}


def of_unix(environ: Environ) -> Identity:
    """The user at the other end of a Unix socket. Whom its file lets connect may do everything."""
    connection = environ["portlb.client"].connection
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(found)
    environ["portlb.from"] = f"process {process}"
    return Identity(f"uid {user}", Role.ADMIN)


def of_tcp(credentials: Credentials, login: Login) -> Identify:
    """The one whose token, certificate or session a request shows. Without an access file there are loopback and no
    login.
    """

    def identify(environ: Environ) -> Identity | messages.Response:
        environ["portlb.from"] = f"{environ['REMOTE_ADDR']} port {environ['REMOTE_PORT']}"
        access = credentials.access
        if access is None:
            return UNKNOWN
        if "HTTP_AUTHORIZATION" in environ:
            found = access.of_token(environ["HTTP_AUTHORIZATION"])
            return found or failure("unauthenticated", "the token is none of this controller's", headers=_LOGIN)
        names = tls.certified_names(_certificate(environ))
        known = access.of_certificate(names) or login.identity(environ)
        if known is None and names:
            return failure("unauthenticated", f"the certificate of {names[0]!r} has no role here", headers=_LOGIN)
        return known or failure("unauthenticated", "a request needs a token, or a client certificate", headers=_LOGIN)

    return identify


def of_reader(environ: Environ) -> Identity:
    """Any client, where there is nothing but reading."""
    environ["portlb.from"] = f"{environ['REMOTE_ADDR']} port {environ['REMOTE_PORT']}"
    return READER


def _certificate(environ: Environ) -> dict[str, object]:
    connection = environ["portlb.client"].connection
    return getattr(connection, "getpeercert", dict)() or {}
