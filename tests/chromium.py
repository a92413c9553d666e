"""A real browser without a screen."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.debian import why_missing

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
PROGRAMS, PACKAGES = ["chromium", "chromedriver"], ["chromium", "chromium-driver"]


def why_no_browser() -> str:
    """Why Chromium can't be run; empty where it can."""
    return why_missing(PROGRAMS, PACKAGES)


@contextmanager
def opened(page: Path, size: tuple[int, int] = (1400, 900)) -> Iterator[webdriver.Chrome]:
    """A browser that shows a file."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for flag in [*FLAGS, f"--window-size={size[0]},{size[1]}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        browser.get(page.resolve().as_uri())
        yield browser
    finally:
        browser.quit()
