"""A headless Chromium, as people look at the page with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

SECONDS = 30
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server")
"""Chromium has no sandbox for root, and a container has little shared memory."""

_REPLACED = "does not belong to the document"


class Browser:
    """One browser with one window. It loads nothing but what a test has it load."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in _FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self._driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self._driver.set_page_load_timeout(SECONDS)

    def look(self, port: int, path: str, scripts: bool = True, scheme: str = "http") -> None:
        """Go to a page of the controller on this port of loopback, with JavaScript or without."""
        self.command("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._driver.get(f"{scheme}://127.0.0.1:{port}{path}")

    def trust_all(self, trusts: bool) -> None:
        """Take any certificate, or only those of the system's authorities."""
        self.command("Security.setIgnoreCertificateErrors", ignore=trusts)

    def command(self, name: str, **values: Any) -> None:
        """A command of the DevTools protocol."""
        self._driver.execute_cdp_cmd(name, values)

    def run(self, script: str) -> Any:
        """What a script returns in the page."""
        return self._driver.execute_script(script)

    @property
    def path(self) -> str:
        """Where it is."""
        return self._driver.current_url.partition("//")[2].partition("/")[2]

    def text(self, selector: str) -> str:
        """The text of an element as it is shown; empty if there is none."""
        for _ in range(3):  # what was just found may just have been replaced
            try:
                return " ".join(each.text for each in self._driver.find_elements(By.CSS_SELECTOR, selector))
            except WebDriverException as error:
                if not isinstance(error, StaleElementReferenceException) and _REPLACED not in str(error):
                    raise
        return ""

    def press(self, selector: str) -> None:
        """Press a button."""
        self._driver.find_element(By.CSS_SELECTOR, selector).click()

    def write(self, selector: str, text: str) -> None:
        """Write into a field."""
        self._driver.find_element(By.CSS_SELECTOR, selector).send_keys(text)

    def wait(self, what: str, condition: Callable[[], Any]) -> Any:
        """Wait until something is so; AssertionError if it does not become so."""
        deadline = time.monotonic() + SECONDS
        while not (found := condition()):
            assert time.monotonic() < deadline, f"{what}: {self.text('body')[:2000]}"
            time.sleep(0.05)
        return found

    def complaints(self) -> list[str]:
        """What its console has said since this was asked last."""
        return [each["message"] for each in self._driver.get_log("browser")]

    def close(self) -> None:
        """End it."""
        self._driver.quit()
