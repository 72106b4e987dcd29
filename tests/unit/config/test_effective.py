"""Every value that is used, and where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from portlb_app.config import Wanted, load
from portlb_app.config.effective import ICMP, PORT, SERVER, SWITCH, VIP, Chosen, Used, Values, effective, given
from portlb_app.config.entries import Entry, IcmpEntry, RedirectPortEntry, ServerEntry, SwitchEntry, VipEntry
from portlb_app.config.overrides import NONE, Override, Overrides
from portlb_app.config.text import parse

FLOWS = Path(__file__).parents[3] / "flows"
FIG2 = (FLOWS / "fig2/lb.yaml").read_text()


def values(text: str = FIG2, overrides: Overrides = NONE, **chosen: object) -> list[Used]:
    data, _ = parse(text)
    return list(effective(load(text), given(data), overrides, Chosen(**chosen)))  # type: ignore[arg-type]


def by_path(found: list[Used]) -> dict[str, tuple[object, str]]:
    return {each.path: (each.value, each.source) for each in found}


@pytest.mark.parametrize(
    ("entry", "shown", "elsewhere"),
    [
        (ServerEntry, SERVER, set()),
        (VipEntry, VIP, {"icmp", "redirect_ports"}),
        (IcmpEntry, ICMP, set()),
        (RedirectPortEntry, PORT, set()),
        (SwitchEntry, SWITCH, set()),
    ],
)
def test_every_key_of_the_file_is_shown(entry: type[Entry], shown: Values, elsewhere: set[str]) -> None:
    """A new key is given its place here, too."""
    assert set(entry.model_fields) == set(shown) | elsewhere


def test_what_the_file_does_not_say_is_a_default() -> None:
    found = by_path(values())
    assert found["servers.a.connector"] == ("s1:2", "file")
    assert found["servers.a.weight"] == (1, "default")
    assert found["servers.a.state"] == ("ready", "default")
    assert found["servers.a.service_ports"] == (
        [{"port": 1, "application": 20}, {"port": 5, "application": 22}, {"port": 9, "application": 9}], "file",
    )  # fmt: skip
    assert found["vips.web.address"] == (["10.0.0.100"], "file")
    assert found["vips.web.mac"] == ("02:00:00:00:00:64", "file")
    assert found["vips.web.check_address"] == (["192.0.0.8"], "default")
    assert found["vips.web.redirect_ports.20.legacy"] == ("drop", "default")
    assert found["vips.web.redirect_ports.22.legacy"] == ("balance", "file")
    assert found["vips.web.redirect_ports.22.second_chance"] == (86400, "default"), "as balance has it"
    assert found["vips.web.redirect_ports.20.selection"] == ({"kind": "hash"}, "default")
    assert found["vips.web.icmp.other"] == ("default", "default")
    assert found["switches.s1.datapath"] == ("userspace", "default")
    assert found["links"] == ([], "default")
    assert not {"servers.a.check", "servers.a.backup", "vips.web.fail_open", "vips.web.icmp.types"} & found.keys()


def test_what_a_vip_says_for_its_ports_is_of_the_file() -> None:
    more = "    fail_open: never\n    check: {kind: http}\n"
    text = FIG2.replace("    default_server: d\n", f"    default_server: d\n{more}")
    found = by_path(values(text))
    assert found["vips.web.fail_open"] == found["vips.web.redirect_ports.21.fail_open"] == ("never", "file")
    assert found["vips.web.check"] == ({"kind": "http"}, "file")


def test_an_override_is_in_place_of_both() -> None:
    config = load(FIG2)
    drained = Override(Wanted.DRAIN, Wanted.READY, "kernel", "root", 5.0)
    made = NONE.put(config.server_by_name["b"], "state", Wanted.DRAIN, drained)
    made = made.put(config.server_by_name["c"], "weight", 7, Override(7, 1))
    stale = Overrides({**made.entries, ("d", "weight"): Override(5, 3)})
    found = {each.path: each for each in values(overrides=stale, source="override")}
    assert {path: (each.value, each.replaced) for path, each in found.items()} == {
        "servers.b.state": ("drain", "ready"), "servers.c.weight": (7, 1),
    }  # fmt: skip
    said = found["servers.b.state"].override
    assert said is not None and (said.reason, said.by) == ("kernel", "root")


def test_values_are_chosen_by_path_and_source() -> None:
    assert [each.path for each in values(under="servers.a", source="file")] == [
        "servers.a.connector", "servers.a.service_ports", "servers.a.vip",
    ]  # fmt: skip
    assert [each.path for each in values(under="servers.a.weight")] == ["servers.a.weight"]
    assert values(under="servers.a.weigh") == values(under="x") == []
    assert {each.source for each in values(source="default")} == {"default"}
    everything = by_path(values(source="file")).keys() | by_path(values(source="default")).keys()
    assert everything == by_path(values()).keys()


@pytest.mark.parametrize("path", sorted(FLOWS.glob("*/lb.yaml")), ids=lambda path: path.parent.name)
def test_places_are_in_order_and_pages_are_the_whole(path: Path) -> None:
    """Of every network there is."""
    text = path.read_text()
    whole = values(text)
    places = [each.place for each in whole]
    assert places == sorted(set(places)) and len(whole) > 20
    parts: list[Used] = []
    while page := values(text, after=parts[-1].place if parts else "", count=7):
        parts += page
    assert parts == whole


def test_names_that_are_numbers_or_begin_alike() -> None:
    """Ports are numbers and names are texts, in the order that configurations have."""
    text = FIG2.replace("  a:\n", '  "10":\n').replace("  b:\n", '  "9":\n').replace("  c:\n", '  "9.a":\n')
    text = text.replace("[a, b]", '["10", "9"]').replace("[b, c, d]", '["9", d]').replace("[a, b, c, d]", '["9.a", d]')
    whole = values(text.replace("      20:", "      3000:"))
    places = [each.place for each in whole]
    assert places == sorted(set(places))
    ports = [each.path.split(".")[3] for each in whole if each.path.endswith(".legacy")]
    assert ports == ["21", "22", "3000"]
    assert values(text, after=places[30], count=5) == [each for each in values(text) if each.place > places[30]][:5]
