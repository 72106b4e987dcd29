"""The configuration: frozen, validated values, and how ``lb.yaml`` becomes them.

A `Config` that exists is valid: `load` either returns one or raises a `ConfigError` with *every* mistake, each with its
path. ``docs/config.md`` is the reference for users.

- `values`: what the rest of portlb sees.
- `text`: bounded YAML (or JSON) to plain data.
- `entries`: the shape of one entry of the file (types, ranges, keys).
- `file`: all entries of a file; `checks`: the entries against each other; `topology_checks`: switches and links.
- `check_entries`, `check_values`, `health`: how servers are checked.
- `selection_entries`, `selection_values`, `selecting`: how servers are selected.
- `notices`: what is allowed, but may not be wanted.
- `loading`: from the text to the values.
"""

from portlb_app.config.check_values import Check, FailOpen
from portlb_app.config.loading import load
from portlb_app.config.policies import (
    CheckKind,
    DefaultFor,
    Forwarding,
    Fragments,
    IcmpErrors,
    IcmpPolicy,
    Legacy,
    Rewrite,
    Signal,
    UnknownErrors,
    UnknownFragments,
    Via,
    Wanted,
)
from portlb_app.config.problems import ConfigError, Notice, Problem
from portlb_app.config.selection_values import FEEDBACK, FREE, MAX_WHEN, Algorithm, Moves, Selecting, Turns, When
from portlb_app.config.values import (
    Config,
    Connector,
    IcmpRule,
    Link,
    Qos,
    RedirectPort,
    Server,
    ServicePort,
    Switch,
    Vip,
    weights_among,
)
from portlb_app.net.packets import Address

__all__ = [
    "Address",
    "Algorithm",
    "Check",
    "CheckKind",
    "Config",
    "ConfigError",
    "Connector",
    "DefaultFor",
    "FEEDBACK",
    "FREE",
    "FailOpen",
    "Forwarding",
    "Fragments",
    "IcmpErrors",
    "IcmpPolicy",
    "IcmpRule",
    "Legacy",
    "Link",
    "MAX_WHEN",
    "Moves",
    "Notice",
    "Problem",
    "Qos",
    "RedirectPort",
    "Rewrite",
    "Selecting",
    "Server",
    "ServicePort",
    "Signal",
    "Switch",
    "Turns",
    "UnknownErrors",
    "UnknownFragments",
    "Via",
    "Vip",
    "Wanted",
    "When",
    "load",
    "weights_among",
]
