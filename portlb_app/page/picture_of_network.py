"""Switches, links and the way to the clients as a picture: where each box is, in units of SVG.

Switches are in layers by their distance from the network sides, and within a layer near those that they are linked
with. So a tree is a tree, and leaves are below their spines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import networkx as nx

from portlb_app.config import Config

MOST = 100
"""Switches of a picture; of more there is the table alone."""
WIDTH, HEIGHT = 168, 60
"""Of a box."""
ACROSS, DOWN = 212, 200
"""From one box to the next: beside it, and below it."""
MARGIN = 24
LINE = 8
"""Boxes of a layer that stand beside each other, at most."""
NETWORK = ""
"""The name of the clients' side, which is no switch's."""


class Box(NamedTuple):
    """The middle of a box."""

    x: float
    y: float


class Picture(NamedTuple):
    """Where every switch is, and the network (`NETWORK`), in a picture of this size."""

    boxes: Mapping[str, Box]
    width: float
    height: float


def picture(config: Config) -> Picture | None:
    """The picture of a configuration; None if it has too many switches."""
    if len(config.switches) > MOST:
        return None
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from([NETWORK, *(switch.name for switch in config.switches)])
    graph.add_edges_from((NETWORK, switch.name) for switch in config.switches if switch.network is not None)
    graph.add_edges_from((link.one.switch, link.other.switch) for link in config.links)
    layers = [sorted(layer) for layer in nx.bfs_layers(graph, [NETWORK])]
    apart = sorted(set(graph) - {name for layer in layers for name in layer})
    lines: list[Sequence[str]] = []
    place: dict[str, float] = {}
    for layer in [*layers, *([apart] if apart else [])]:
        ordered = sorted(layer, key=lambda name: (_pull(graph, name, place), name))
        place |= {name: (index + 0.5) / len(ordered) for index, name in enumerate(ordered)}
        lines += [ordered[start : start + LINE] for start in range(0, len(ordered), LINE)]
    width = 2 * MARGIN + WIDTH + ACROSS * (max(map(len, lines)) - 1)
    boxes = {}
    for row, names in enumerate(lines):
        left = width / 2 - ACROSS * (len(names) - 1) / 2
        for column, name in enumerate(names):
            boxes[name] = Box(left + ACROSS * column, MARGIN + HEIGHT / 2 + DOWN * row)
    return Picture(boxes, width, 2 * MARGIN + HEIGHT + DOWN * (len(lines) - 1))


def _pull(graph: nx.Graph[str], name: str, place: Mapping[str, float]) -> float:
    """Where the switches that are placed already would have it, from 0 to 1."""
    found = [place[other] for other in graph[name] if other in place]
    return sum(found) / len(found) if found else 1.0


def ends(one: Box, other: Box, nth: int) -> tuple[Box, Box]:
    """Where the line between two boxes begins and ends; `nth` of several between the same two, side by side."""
    upper, lower = (one, other) if one.y <= other.y else (other, one)
    shift = 14.0 * nth
    if upper.y == lower.y:
        left, right = (one, other) if one.x <= other.x else (other, one)
        return Box(left.x + WIDTH / 2, left.y + shift), Box(right.x - WIDTH / 2, right.y + shift)
    lean = max(-WIDTH / 3, min(WIDTH / 3, (lower.x - upper.x) / 8))
    return Box(upper.x + lean + shift, upper.y + HEIGHT / 2), Box(lower.x - lean + shift, lower.y - HEIGHT / 2)
