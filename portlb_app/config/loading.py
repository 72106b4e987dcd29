"""From the text of ``lb.yaml`` to a `Config`: read, checked, and then made into values."""

from __future__ import annotations

from typing import Any

from portlb_app.config import capacity, health, icmp, notices, selecting
from portlb_app.config.check_values import FailOpen
from portlb_app.config.checks import check, legacy
from portlb_app.config.entries import QosEntry
from portlb_app.config.file import File, read_file
from portlb_app.config.policies import (
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
    Wanted,
)
from portlb_app.config.problems import refusal
from portlb_app.config.text import one_line_hint, parse
from portlb_app.config.values import SECOND_CHANCE, Config, Qos, RedirectPort, Server, ServicePort, Switch, Vip
from portlb_app.pipeline import vip_number


def load(text: str) -> Config:
    """The configuration a YAML (or JSON) text means; ConfigError with every mistake in it."""
    data, problems = parse(text)
    if not isinstance(data, dict):
        raise refusal("", f"the configuration is a mapping with vips, servers and switches{one_line_hint(text)}")
    file = read_file(data, problems)
    if not problems.too_many:  # else relations between entries would be checked that were not read
        check(file)
    problems.raise_any()
    notices.add(file)
    merging = health.Merging(file)
    config = Config(
        vips=tuple(_vip(file, name, merging) for name in sorted(file.vips)),
        servers=tuple(_server(file, name) for name in sorted(file.servers)),
        switches=tuple(_switch(file, name) for name in sorted(file.switches)),
        links=tuple(sorted(file.links.values())),
        notices=tuple(file.notices),
    )
    config = capacity.with_groups(config)
    for path, message in capacity.problems(config):
        problems.add(path, message)
    problems.raise_any()
    return config


def _need(value: Any) -> Any:
    assert value is not None, "a file without problems has every required field"
    return value


_PLAIN = Qos()


def _qos(entry: QosEntry | None) -> Qos:
    return _PLAIN if entry is None else Qos(entry.dscp, entry.queue, entry.rate)


def _second_chance(given: int | None, policy: Legacy) -> int:
    """On where plain clients' connections stay where their slot is."""
    if given is not None:
        return given
    return SECOND_CHANCE if policy is Legacy.BALANCE else 0


def _nothing_wrong(path: str, message: str) -> None:
    raise AssertionError(f"{path}: {message}, in a file without problems")


def _vip(file: File, name: str, merging: health.Merging) -> Vip:
    entry = file.vips[name]
    default_for = entry.default_for or DefaultFor.UNKNOWN_PORTS
    pools = []
    for port, pool in sorted(file.redirect_ports[name].items()):
        servers = tuple(sorted(_need(pool.servers)))
        policy, path = legacy(file, name, port), f"vips.{name}.redirect_ports.{port}"
        pools.append(
            RedirectPort(
                port,
                servers,
                policy,
                pool.signal or Signal.FLAG,
                _qos(pool.quality),
                selecting=selecting.selecting(file.selections.get(path)),
                moves=pool.moves,
                slow_start=pool.slow_start or 0,
                when=selecting.whens(file, path),
                checks=merging.checks(name, port, servers),
                fail_open=pool.fail_open or entry.fail_open or FailOpen(),
                second_chance=_second_chance(pool.second_chance, policy),
            )
        )
    rewrite = entry.rewrite or Rewrite.NOTHING
    errors = IcmpErrors.OWNER if rewrite is Rewrite.ADDRESS else IcmpErrors.REPLICATE
    otherwise = "drop" if entry.default_server is None else "default"
    return Vip(
        name=name,
        addresses=_need(entry.address),
        mac=_need(entry.mac),
        redirect_ports=tuple(pools),
        default_server=entry.default_server,
        default_for=default_for,
        rewrite=rewrite,
        gateway=entry.gateway,
        icmp_errors=file.icmp[name].errors or errors,
        unknown_errors=file.icmp[name].unknown or UnknownErrors(otherwise),
        icmp_types=icmp.rules(file.icmp[name], _nothing_wrong),
        icmp_rest=file.icmp[name].other or IcmpPolicy(otherwise),
        fragments=entry.fragments or Fragments(otherwise),
        unknown_fragments=entry.unknown_fragments or UnknownFragments(otherwise),
        log=bool(entry.log),
        number=vip_number(name) if entry.number is None else entry.number,
        check_addresses=entry.check_address or (),
        passive=entry.passive is not False,
    )


def _server(file: File, name: str) -> Server:
    entry = file.servers[name]
    service_ports = tuple(
        ServicePort(_need(item.port), _need(item.application or item.port), _qos(item.quality))
        for item in file.service_ports[name].values()
    )
    return Server(
        name=name,
        vip=_need(entry.vip),
        connector=_need(entry.connector),
        service_ports=service_ports,
        addresses=entry.address or (),
        mac=entry.mac,
        routers=entry.router or (),
        weight=1 if entry.weight is None else entry.weight,
        service_addresses=entry.service_address or (),
        service_mac=entry.service_mac,
        service_label=entry.service_label,
        mptcp=entry.mptcp,
        priority=selecting.priority(entry),
        state=entry.state or Wanted.READY,
    )


def _switch(file: File, name: str) -> Switch:
    entry = file.switches[name]
    return Switch(
        name=name,
        dpid=_need(entry.dpid),
        network=entry.network,
        addresses=entry.address or (),
        datapath=entry.datapath or Forwarding.USERSPACE,
    )
