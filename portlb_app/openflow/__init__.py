"""OpenFlow as plain values: what a switch is to hold, and what it does hold.

The compiler makes these values, `southbound` reads them from a switch, and `reconcile.plan` compares the two. Every
value is frozen and hashable, and ``str()`` of it is text that ``ovs-ofctl -O OpenFlow15`` accepts.

Fields and actions are the small set that the pipeline uses. A flow read from a switch that uses anything else keeps the
bytes in an `Opaque` action or in the match's ``opaque``, so that it differs from every flow of ours and is replaced.
"""

from __future__ import annotations

from portlb_app.openflow.actions import (
    Action,
    CheckLarger,
    Conntrack,
    CopyField,
    CopyToController,
    Goto,
    Learn,
    Opaque,
    Output,
    PopVlan,
    Resubmit,
    SetField,
    SetQueue,
    ToController,
    ToGroup,
    ToMeter,
    actions_text,
)
from portlb_app.openflow.fields import (
    CONTROLLER,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIELDS,
    IN_PORT,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    LOCAL,
    WHOLE_PACKET,
    Field,
    Kind,
)
from portlb_app.openflow.flow_parts import FlowParts, Flows, Part, apart
from portlb_app.openflow.flows import (
    Flow,
    FlowFilter,
    FlowKey,
)
from portlb_app.openflow.groups import (
    Group,
    Selection,
)
from portlb_app.openflow.matches import (
    Match,
    match,
)
from portlb_app.openflow.meters import (
    Meter,
)
from portlb_app.openflow.switch_state import (
    SwitchState,
)
from portlb_app.openflow.text import (
    mac_number,
    mac_text,
)

__all__ = [
    "Action",
    "CONTROLLER",
    "CheckLarger",
    "Conntrack",
    "CopyField",
    "CopyToController",
    "ETH_ARP",
    "ETH_IPV4",
    "ETH_IPV6",
    "FIELDS",
    "Field",
    "Flow",
    "FlowFilter",
    "FlowKey",
    "FlowParts",
    "Flows",
    "Part",
    "Goto",
    "Group",
    "IN_PORT",
    "IP_ICMP",
    "IP_ICMPV6",
    "IP_SCTP",
    "IP_TCP",
    "IP_UDP",
    "Kind",
    "LOCAL",
    "Learn",
    "Match",
    "Meter",
    "Opaque",
    "Output",
    "PopVlan",
    "Resubmit",
    "Selection",
    "SetField",
    "SetQueue",
    "SwitchState",
    "ToController",
    "ToGroup",
    "ToMeter",
    "WHOLE_PACKET",
    "actions_text",
    "apart",
    "mac_number",
    "mac_text",
    "match",
]
