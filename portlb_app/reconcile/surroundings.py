"""What a bridge has beside portlb's tables, as it was read: flows of others, and where it forwards."""

from __future__ import annotations

from portlb_app.config import Forwarding
from portlb_app.reconcile.foreign import Foreign
from portlb_app.reconcile.known_switch import KnownSwitch
from portlb_app.reconcile.network import Network

SHADOWED = "flows of others take packets before portlb's flows do"
LEFT_ALONE = "no flow of others takes packets from portlb's flows any more"
CONTRADICTS = "the bridge forwards {0.value}, the configuration says datapath: {1.value}"


def see(network: Network, switch: KnownSwitch, forwarding: Forwarding | None, foreign: Foreign) -> None:
    """Keep what was read, and tell what is new of it."""
    before = switch.foreign.shadowing if switch.foreign else 0
    is_new, switch.forwarding, switch.foreign = switch.forwarding is not forwarding, forwarding, foreign
    name = network.name(switch.dpid)
    if bool(before) is not bool(foreign.shadowing):
        words = SHADOWED if foreign.shadowing else LEFT_ALONE
        change = ("none", "shadowed") if foreign.shadowing else ("shadowed", "none")
        network.log("warning" if foreign.shadowing else "info", f"{name}: {words}", switch=name)
        evidence = {"flows": foreign.shadowing, "first": foreign.shadows[0].match if foreign.shadows else ""}
        network.tell("conflict", name, change, words, evidence)
    configured = next((each.datapath for each in network.live.config.switches if each.dpid == switch.dpid), forwarding)
    if is_new and forwarding is not None and configured is not None and forwarding is not configured:
        words = CONTRADICTS.format(forwarding, configured)
        network.log("warning", f"{name}: {words}", switch=name)
        network.tell("conflict", name, (configured.value, forwarding.value), words)
