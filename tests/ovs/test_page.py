"""The page, looked at: a real controller, a real switch, a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from portlb_app.api.access import line_of
from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.ovs.browser import Browser
from tests.ovs.controller import ControllerProcess, free_port
from tests.ovs.pki import Pki

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
PORTS = {"a": 2, "b": 3, "c": 4}
HOSTILE = "<script>document.title='caught'</script><img src=x onerror=document.title='caught'>"
ONE_SECOND = 1000
"""Milliseconds."""
WATCH = """
window.told = 0;
window.shown = 0;
const source = new EventSource("/v1/events");
source.addEventListener("health", () => { window.told = window.told || performance.now(); });
const row = () => document.querySelector('tr[data-server="b"]');
new MutationObserver(() => {
  if (!window.shown && row() && row().querySelector(".bad")) window.shown = performance.now();
}).observe(document.getElementById("main"), { childList: true, subtree: true });
"""
"""Notes when the browser is told of b's health, and when it shows that."""


class Stage:
    """A switch with three servers, and a controller that may be killed and started again on the same port."""

    def __init__(self, switch: ovs.Switch, directory: Path, browser: Browser) -> None:
        self.switch, self.browser, self.port = switch, browser, free_port()
        self.bridge = Bridge(switch, (1, *PORTS.values()))
        servers = {
            name: {"vip": "web", "connector": f"s1:{port}", "service_ports": [8000 + port]}
            for name, port in PORTS.items()
        }
        vip = {"address": "10.0.0.100", "mac": "02:00:00:00:00:64", "redirect_ports": {80: {"servers": list(PORTS)}}}
        switches = {"s1": {"dpid": 0x100 + int(self.bridge.name[2:]), "network": 1}}
        self.path = directory / "lb.yaml"
        self.path.write_text(json.dumps({"switches": switches, "vips": {"web": vip}, "servers": servers}))
        self.start()

    def start(self) -> None:
        """Start the controller, and wait until the switch has what it shall have."""
        self.controller = ControllerProcess(self.path, "--wsapi-port", str(self.port), resync=0.5)
        self.switch.set_controller(self.bridge.name, self.controller.target)
        self.controller.wait_for_state("s1", "synced")

    def set_port(self, name: str, state: str) -> None:
        """A server's port goes up or down."""
        self.switch.appctl("netdev-dummy/set-admin-state", self.bridge.port_name(PORTS[name]), state)

    def look(self, path: str, scripts: bool = True) -> None:
        """Go to a page; with scripts it becomes live."""
        self.browser.look(self.port, path, scripts)
        if scripts:
            self.browser.wait("it is live", lambda: self.browser.text("#live") == "live")

    def row(self, name: str) -> str:
        """A server's row of the first page."""
        return self.browser.text(f'tr[data-server="{name}"]')

    def state(self, name: str) -> object:
        """What is wanted of a server, as REST says."""
        return json.loads(self.controller.request("GET", f"/v1/servers/{name}/state")[1])["state"]

    def close(self) -> None:
        """End all of it."""
        self.bridge.close()
        assert self.controller.close() == 0
        assert "Traceback" not in self.controller.log.read_text()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests: its start costs more than they do."""
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def stage(
    switch: ovs.Switch, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """One for all tests; each leaves all servers up and ready."""
    stage = Stage(switch, tmp_path_factory.mktemp("page"), browser)
    for name in PORTS:
        stage.set_port(name, "up")
    yield stage
    stage.close()


@pytest.fixture(autouse=True)
def quiet(browser: Browser) -> Iterator[None]:
    """The console says nothing but what a test has heard itself."""
    browser.complaints()
    yield
    assert browser.complaints() == []


def test_a_server_that_dies_is_red_within_a_second_of_the_event(stage: Stage) -> None:
    """And fine when it is back, without a reload; all of it is words, too."""
    browser = stage.browser
    stage.look("/")
    browser.wait("all are up", lambda: "Nothing is wrong." in browser.text("#main") and "up" in stage.row("b"))
    browser.run(WATCH)
    browser.run("window.mark = 'the same page'")
    stage.set_port("b", "down")
    browser.wait("it is down", lambda: "down" in stage.row("b"))
    told, shown = browser.run("return [window.told, window.shown]")
    assert told > 0 and shown - told <= ONE_SECOND
    assert "server b" in browser.text(".troubles")
    browser.wait("the slots that switches hold", lambda: "wanted" not in stage.row("a").lower().partition("slots")[2])
    stage.set_port("b", "up")
    browser.wait("it is back", lambda: "Nothing is wrong." in browser.text("#main"))
    assert browser.run("return window.mark") == "the same page"


def test_a_drain_is_shown_before_it_is_done(stage: Stage) -> None:
    """By forms, with hostile text as the reason, which is text on every page."""
    browser = stage.browser
    stage.look("/servers/b")
    browser.write("input[name=reason]", HOSTILE)
    browser.press("button[value=drain]")
    browser.wait("the dry run", lambda: "This would happen" in browser.text("#main"))
    assert "slots move" in browser.text(".says")
    assert stage.state("b") == "ready"
    browser.press("button.main")
    browser.wait("it drains", lambda: browser.path == "servers/b" and "drain" in browser.text(".words"))
    assert HOSTILE in browser.text("#main")
    browser.wait("the event", lambda: HOSTILE in browser.text(".events"))
    for path in ("/", "/events", "/pools/web/80", "/network"):
        stage.look(path)
        assert "caught" not in browser.run("return document.title")
        assert browser.run("return document.querySelectorAll('img, script:not([src])').length") == 0
    browser.wait("no slot is b's", lambda: browser.run("return document.querySelectorAll('.slots .c1').length") == 0)
    stage.look("/servers/b", scripts=False)
    browser.press("button[value=ready]")
    browser.wait("the dry run", lambda: "This would happen" in browser.text("#main"))
    browser.press("button.main")
    browser.wait("it is ready", lambda: stage.state("b") == "ready")


def test_without_scripts_everything_is_there(stage: Stage) -> None:
    """And it is asked for again by the browser itself."""
    browser = stage.browser
    stage.look("/", scripts=False)
    assert "as of" in browser.text("#live") and all("ready" in stage.row(name) for name in PORTS)
    stage.set_port("c", "down")
    browser.wait("it has asked again", lambda: "down" in stage.row("c"))
    stage.set_port("c", "up")
    browser.wait("it has asked again", lambda: "up" in stage.row("c"))


def test_what_is_stale_looks_stale_and_becomes_true_again(stage: Stage) -> None:
    """The controller is killed: the page says since when it is not live. Started again, it is true without a reload."""
    browser = stage.browser
    stage.look("/")
    browser.run("window.mark = 'the same page'")
    stage.controller.kill()
    browser.wait("it is stale", lambda: browser.text("#live").startswith("not live since "))
    assert browser.run("return getComputedStyle(document.querySelector('main')).filter") == "grayscale(1)"
    stage.set_port("b", "down")
    stage.start()
    browser.wait("it is live", lambda: browser.text("#live") == "live" and "down" in stage.row("b"))
    assert browser.run("return getComputedStyle(document.querySelector('main')).filter") == "none"
    assert browser.run("return window.mark") == "the same page"
    stage.set_port("b", "up")
    browser.wait("it is back", lambda: "up" in stage.row("b"))
    complaints = browser.complaints()
    assert complaints and all("net::ERR_" in each for each in complaints), "nothing but that it did not answer"


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark"), (320, "light")])
def test_nothing_is_wider_than_the_window(stage: Stage, width: int, scheme: str) -> None:
    """On any page; so nobody has to scroll sideways."""
    browser = stage.browser
    browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    for path in ("/", "/network", "/events", "/pools/web/80", "/servers/b"):
        browser.look(stage.port, path)
        assert browser.run("return document.documentElement.scrollWidth") <= width, path


class Guarded:
    """A controller that is asked by TLS, by someone with a token."""

    def __init__(self, directory: Path, browser: Browser) -> None:
        self.browser, self.tokens = browser, {"eve": "read-only-token", "op": "operator-token"}
        certificate, key = Pki(directory / "pki").sign("controller", "IP:127.0.0.1")
        access = directory / "access"
        roles = {"eve": "read-only", "op": "operator"}
        access.write_text("".join(f"{line_of(name, roles[name], each)}\n" for name, each in self.tokens.items()))
        (directory / "lb.yaml").write_text(FIG2)
        flags = ("--wsapi-tls", str(certificate), str(key), "--wsapi-access", str(access))
        self.controller = ControllerProcess(directory / "lb.yaml", *flags)

    def look(self, path: str, scripts: bool = True) -> None:
        """Go to a page."""
        self.browser.look(self.controller.rest_port, path, scripts, "https")

    def log_in(self, token: str) -> None:
        """Send the form."""
        self.browser.write("input[name=token]", token)
        self.browser.press("button.main")

    def refused(self) -> None:
        """The console has said that there is no answer without a login, and nothing else."""
        complaints = self.browser.complaints()
        assert complaints and all("status of 401" in each for each in complaints), complaints


@pytest.fixture
def guarded(browser: Browser, tmp_path: Path) -> Iterator[Guarded]:
    """See `Guarded`."""
    made = Guarded(tmp_path, browser)
    browser.trust_all(True)
    yield made
    browser.trust_all(False)
    assert made.controller.close() == 0
    log = made.controller.log.read_text()
    assert "Traceback" not in log and not any(token in log for token in made.tokens.values())


def test_a_person_logs_in_with_a_token(guarded: Guarded, browser: Browser) -> None:
    """Without one there is a form in place of every page; who may only look sees no other form; both log out."""
    guarded.look("/servers/b")
    assert "Log in" in browser.text("h1") and "connector" not in browser.text("body")
    assert browser.run("return getComputedStyle(document.querySelector('section')).borderRadius") == "10px", "no style"
    guarded.log_in("read-only-tokem")
    browser.wait("it is refused", lambda: "no token of a person" in browser.text(".notice"))
    guarded.refused()
    guarded.log_in(guarded.tokens["eve"])
    browser.wait("the page that was asked for", lambda: browser.path == "servers/b")
    browser.wait("it is live", lambda: browser.text("#live") == "live")
    assert "eve" in browser.text(".session") and "You may look only" in browser.text("#main")
    assert browser.run("return [document.cookie, document.querySelectorAll('main form').length]") == ["", 0]
    put = "fetch('/v1/servers/b/state', {method: 'PUT', headers: {'Content-Type': 'application/json'}, body: '{}'})"
    assert browser.run(f"return {put}.then((answer) => answer.status)") == 403
    assert all("status of 403" in each for each in browser.complaints())
    browser.press(".session button")
    browser.wait("the form again", lambda: "Log in" in browser.text("h1"))
    guarded.look("/network", scripts=False)
    browser.wait("the form in place of any page", lambda: "Log in" in browser.text("h1"))
    guarded.refused()


def test_an_operator_that_has_logged_in_drains_a_server(guarded: Guarded, browser: Browser) -> None:
    """By the forms of the page, without JavaScript."""
    guarded.look("/servers/b", scripts=False)
    guarded.log_in(guarded.tokens["op"])
    browser.wait("the page that was asked for", lambda: browser.path == "servers/b" and browser.text(".session"))
    browser.press("button[value=drain]")
    browser.wait("the dry run", lambda: "This would happen" in browser.text("#main"))
    browser.press("button.main")
    browser.wait("it drains", lambda: browser.path == "servers/b" and "drain by op" in browser.text("#main"))
    audited = guarded.controller.log.read_text()
    assert "op, 127.0.0.1" in audited and "POST /login: 303" in audited
    guarded.refused()
