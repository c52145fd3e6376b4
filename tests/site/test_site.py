"""The documentation site as a reader sees it: links, pictures, formulas, search, at two widths."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

WIDTHS = {"desktop": (1300, 900), "phone": (390, 844)}  # CSS pixels
ROOT = Path(__file__).parent.parent.parent


class _Links(HTMLParser):
    """What a page refers to, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note its references and its anchor."""
        for name, value in attrs:
            if value and name in ("id", "name"):
                self.anchors.add(value)
            elif value and name in ("href", "src"):
                self.links.append(value)


def _pages(site: Path) -> list[Path]:
    """All pages that a reader is led to, without the highlighted sources."""
    pages = (page.relative_to(site) for page in sorted(site.rglob("*.html")))
    return [page for page in pages if page.parts[0] not in ("_modules", "_static")]


def test_every_internal_link_leads_somewhere(site):
    pages = {
        page: _Links(page.read_text(encoding="utf-8"))
        for page in site.rglob("*.html")
        if "_static" not in page.parts
    }
    broken = []
    for page, content in pages.items():
        for link in content.links:
            path, anchor = urldefrag(link)
            if urlparse(link).scheme or link.startswith("//"):
                continue
            target = (page.parent / unquote(path.partition("?")[0])).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                anchor and target in pages and unquote(anchor) not in pages[target].anchors
            ):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)
    assert len(pages) > 40


def test_nothing_is_loaded_from_elsewhere(site):
    """Scripts, styles, fonts and pictures come with the site, also with the highlighted sources."""
    loads = re.compile(
        r"""<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=["']((?:https?:)?//[^"']*)"""
    )
    for page in site.rglob("*.html"):
        assert not loads.findall(page.read_text(encoding="utf-8")), page


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_are_whole(site, address, browser, width):
    """No error in the console, no foreign request, every picture and formula there, no overflow."""
    _resize(browser, *WIDTHS[width])
    faults = []
    for page in _pages(site):
        browser.get(f"{address}/{page.as_posix()}")
        _wait_for_formulas(browser)
        faults += [f"{page}: {fault}" for fault in _faults(browser, address)]
    assert not faults, "\n".join(faults)


def test_pages_are_whole_in_the_dark(address, browser):
    _resize(browser, *WIDTHS["desktop"])
    browser.get(f"{address}/index.html")
    browser.execute_script(
        "localStorage.setItem('mode', 'dark'); localStorage.setItem('theme', 'dark')"
    )
    for name in ("index.html", "mathematics.html", "gallery/index.html"):
        browser.get(f"{address}/{name}")
        _wait_for_formulas(browser)
        assert browser.find_element(By.TAG_NAME, "html").get_attribute("data-theme") == "dark"
        assert not list(_faults(browser, address))
    browser.execute_script("localStorage.clear()")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("word", ["tau", "CvxpyLayer", "infeasible"])
def test_search_leads_to_pages(address, browser, width, word):
    _resize(browser, *WIDTHS[width])
    browser.get(f"{address}/search.html?q={word}")
    results = (By.CSS_SELECTOR, "#search-results ul.search li a")
    WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(*results))
    links = [link.get_attribute("href") for link in browser.find_elements(*results)]
    assert any(".html" in link for link in links)


def _resize(browser, width, height):
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def _wait_for_formulas(browser):
    typeset = (
        "return !window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)"
    )
    assert browser.execute_script(typeset)


def _faults(browser, address):
    """What is wrong with the page that the browser shows, in words."""
    for entry in browser.get_log("browser"):
        if entry["level"] in ("SEVERE", "WARNING"):
            yield entry["message"]
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith((address, "data:", "chrome:", "about:", "blob:")):
                yield f"asks for {url}"
    pictures = "return [...document.images].filter(i => i.loading = 'eager')"
    for picture in browser.execute_script(pictures):
        loaded = (
            "const i = arguments[0]; return i.decode().then(() => i.naturalWidth > 0, () => false)"
        )
        if not browser.execute_script(loaded, picture):
            yield f"picture {picture.get_attribute('src')} does not load"
    wrong = (
        "return [...document.querySelectorAll('mjx-merror, .problematic')].map(e => e.textContent)"
    )
    for text in browser.execute_script(wrong):
        yield f"is not rendered: {text}"
    sizes = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    needed, given = browser.execute_script(sizes)
    if needed > given + 1:
        yield f"is {needed} wide on a screen of {given}"
