"""Chromium for the tests of pages. Without it (``make test-browser`` installs it, for root on Debian) they are skipped."""

import shutil

import pytest

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs /usr/bin/chromium: make test-browser installs it")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def window_at(browser):
    """Opens an address in a window; afterwards nothing was asked of any host, and no error was told."""
    told, asked, windows = [], [], []

    def open_window(address, width=1400):
        window = browser.new_page(viewport={"width": width, "height": 900})
        window.on("console", lambda message: told.append(message.text))
        window.on("pageerror", lambda error: told.append(str(error)))
        window.on("request", lambda request: asked.append(request.url))
        window.on("dialog", lambda dialog: told.append(dialog.message))
        window.goto(address)
        windows.append(window)
        return window

    yield open_window
    for window in windows:
        window.close()
    assert told == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
