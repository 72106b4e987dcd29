"""A record of a log as one line of JSON, for programs that collect logs (docs/operations.md, "The log").

It is here because agents have it, too, and they load nothing of `config` that they do not need.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

ABOUT = ("switch", "link", "vip", "server", "change", "agent", "interface")
"""What a record may be about, beside its message: the members that it has more than each has."""


def log_entry(
    moment: str, level: str, logger: str, message: str, about: Mapping[str, str], error: str = ""
) -> str:
    """The line. `moment`: the time (RFC 3339); `level`: a word; `error`: a trace, if there is one.

    All but printable ASCII is escaped, so that nothing in a message ends the line or moves a cursor.
    """
    entry = {
        "time": moment,
        "level": level.lower(),
        "logger": logger,
        "message": message,
        **{name: about[name] for name in ABOUT if about.get(name)},
    }
    if error:
        entry["error"] = error
    return json.dumps(entry)
