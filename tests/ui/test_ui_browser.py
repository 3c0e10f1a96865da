"""The page in headless Chromium: what people see, live, in light and dark, on narrow and wide screens."""

import os
import shutil
from collections.abc import Iterator

import pytest
from served_page import Page, fill, minutes

from carbonfleet.api.job_status import Figures, Phase
from carbonfleet.api.report import Progress

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
PATIENCE_MS = 120_000
VIEWS = ("/", "/timeline", "/jobs", "/jobs/team-a/runs", "/sweeps", "/sweeps/team-a/small", "/savings", "/proposals",
         "/nowhere")  # fmt: skip
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = parts => {
    const [r, g, b] = parts.slice(0, 3).map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const found = rgba(getComputedStyle(each).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    const style = getComputedStyle(element);
    if (!text || !element.getClientRects().length || element.closest("title")) continue;
    const own = element.ownerSVGElement ? style.fill : style.color;
    const [a, b] = [light(rgba(own)), light(behind(element.ownerSVGElement || element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) low.push(`${ratio.toFixed(2)} ${own} ${text.slice(0, 40)}`);
  }
  return low;
}"""
UNNAMED = """() => [...document.querySelectorAll("a, button, input:not([type=hidden]), select, [role=img], progress")]
  .filter(each => !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length))
  .map(each => each.outerHTML.slice(0, 100))"""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """One Chromium for all; in a container root has no sandbox."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


class Seen:
    """One tab, and whatever went wrong in it."""

    def __init__(self, browser, width=1600, scheme="light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.context.set_default_timeout(PATIENCE_MS)
        self.tab = self.context.new_page()
        self.problems: list[str] = []
        self.requested: set[str] = set()
        self.tab.on("console", lambda told: self.problems.append(told.text) if told.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.tab.on("request", lambda request: self.requested.add(request.url))

    def outside(self, page: Page) -> list[str]:
        """What was asked for elsewhere."""
        return [url for url in self.requested if not url.startswith(page.url + "/")]

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def open_tab(browser) -> Iterator:
    """Opens tabs, and closes them after the test."""
    opened = []

    def make(**given) -> Seen:
        opened.append(Seen(browser, **given))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def full_page(hub) -> Iterator[Page]:
    """The page over a fleet with something in each view."""
    fill(hub)
    served = Page(hub.api.kubeconfig, hub.folder)
    try:
        served.shows("sweep-1", "/jobs")
        served.shows("g/kWh", "/timeline")
        served.shows("emitted", "/savings")
        yield served
    finally:
        served.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000, 1600])
def test_every_view_fits_and_is_legible_without_an_error_or_an_outside_request(full_page, open_tab, width, scheme):
    seen = open_tab(width=width, scheme=scheme)
    for view in VIEWS:
        seen.tab.goto(full_page.url + view)
        assert seen.tab.evaluate("document.documentElement.scrollWidth") <= width, view
        assert seen.tab.evaluate(CONTRASTS) == [], view
        assert seen.tab.evaluate(UNNAMED) == [], view
        landmarks = ("header", "nav[aria-label]", "main", "footer", "h1", "html[lang=en]")
        assert [each for each in landmarks if seen.tab.locator(each).count() == 0] == [], view
    problems = [each for each in seen.problems if "404" not in each]  # what the browser says of an address that is none
    assert (problems, seen.outside(full_page)) == ([], [])


def test_a_job_travels_through_the_page_while_it_is_looked_at(hub, full_page, open_tab):
    tabs = {view: open_tab() for view in ("/jobs?q=traveller", "/timeline", "/")}
    for view, seen in tabs.items():
        seen.tab.goto(full_page.url + view)
    jobs, line, fleet = (seen.tab for seen in tabs.values())
    expected = Figures(energy_kwh=1.0, grams_co2e=50.0, grams_per_kwh=35.0, saved_grams_co2e=400.0, saved_percent=89.0)
    hub.apply("traveller")
    jobs.get_by_text("The hub has not looked at it yet.").wait_for()
    hub.say("traveller", phase=Phase.WAITING, cluster="no-osl-1", start=minutes(60), summary="Waits for wind.",
            expected=expected)  # fmt: skip
    jobs.get_by_text("Waits for wind.").wait_for()
    fleet.locator("section[aria-labelledby=next]").get_by_text("Waits for wind.").wait_for()
    lane = line.locator("a.lane[data-why*='team-a/traveller']")
    lane.locator("rect.planned").wait_for()
    hub.say("traveller", phase=Phase.RUNNING, cluster="no-osl-1", start=minutes(-5), first_start=minutes(-5),
            summary="Trains on no-osl-1.", progress=Progress(step=10, total_steps=40), attempt=1)  # fmt: skip
    jobs.locator("progress[value='10']").wait_for()
    lane.locator("rect.running").wait_for()
    fleet.locator("section[aria-labelledby=running]").get_by_text("traveller", exact=True).wait_for()
    hub.say("traveller", phase=Phase.SUCCEEDED, cluster="no-osl-1", start=minutes(-5), first_start=minutes(-5),
            summary="Trained until now.", actual=expected, attempt=1)  # fmt: skip
    jobs.get_by_text("Trained until now.").wait_for()
    jobs.get_by_text("400 g (89 %)", exact=True).wait_for()
    assert [seen.problems for seen in tabs.values()] == [[], [], []]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["/", "/timeline"])
def test_the_band_of_a_forecast_is_drawn_around_its_line_and_told_from_what_is_behind(
    full_page, open_tab, view, scheme
):
    seen = open_tab(scheme=scheme)
    seen.tab.goto(full_page.url + view)
    assert seen.tab.locator("path.band").count() == 3
    for band, line in zip(seen.tab.locator("path.band").all(), seen.tab.locator("path.expected").all(), strict=True):
        around, within = band.bounding_box(), line.bounding_box()
        assert around["height"] > 4
        assert around["y"] <= within["y"]
        assert around["y"] + around["height"] >= within["y"] + within["height"]
        fill, page = (element.evaluate(f"each => getComputedStyle(each).{what}") for element, what in
                      ((band, "fill"), (seen.tab.locator("body"), "backgroundColor")))  # fmt: skip
        assert fill not in (page, "none")


def test_pointing_at_a_job_says_why(full_page, open_tab):
    seen = open_tab()
    seen.tab.goto(full_page.url + "/timeline")
    lane = seen.tab.locator("a.lane[data-why*='team-a/waits']")
    lane.locator("rect.planned").hover()
    assert seen.tab.locator("#told").text_content() == lane.get_attribute("data-why")
    assert "Starts in three hours. Expected to save 738 g" in lane.get_attribute("data-why")


def test_a_narrow_time_line_names_each_job_beside_its_bars(full_page, open_tab):
    seen = open_tab(width=390)
    seen.tab.goto(full_page.url + "/timeline")
    for name in ("waits", "runs", "asks"):
        box = seen.tab.locator("text.behind", has_text=name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_a_keyboard_reaches_the_lanes_and_hears_why(full_page, open_tab):
    seen = open_tab()
    seen.tab.goto(full_page.url + "/timeline")
    seen.tab.keyboard.press("Tab")
    assert seen.tab.evaluate("document.activeElement.textContent") == "Skip to the content"
    for _ in range(40):
        seen.tab.keyboard.press("Tab")
        if seen.tab.evaluate("document.activeElement.classList.contains('lane')"):
            break
    why = seen.tab.evaluate("document.activeElement.dataset.why")
    assert seen.tab.locator("#told").text_content() == why
    seen.tab.keyboard.press("Enter")
    seen.tab.wait_for_url("**/jobs/team-*/*")


def test_what_somebody_types_marks_or_has_opened_stays_while_news_come_in(hub, full_page, open_tab):
    hub.apply("typed-1")
    full_page.shows("typed-1", "/jobs")
    seen = open_tab()
    seen.tab.goto(full_page.url + "/jobs?q=typed")
    search = seen.tab.get_by_label("Find")
    search.fill("half a wo")
    hub.apply("typed-2")
    seen.tab.get_by_role("link", name="typed-2").wait_for()
    assert search.input_value() == "half a wo"
    assert seen.tab.evaluate("document.activeElement.name") == "q"
    link = seen.tab.get_by_role("link", name="typed-1")
    link.focus()
    hub.apply("typed-3")
    seen.tab.get_by_role("link", name="typed-3").wait_for()
    assert seen.tab.evaluate("document.activeElement.textContent") == "typed-1"


def test_a_page_that_is_gone_is_told_as_lost_and_found_again(hub, tmp_path, open_tab):
    served = Page(hub.api.kubeconfig, tmp_path)
    seen = open_tab()
    seen.tab.goto(served.url + "/jobs")
    address = served.url.removeprefix("http://")
    served.stop()
    seen.tab.locator("#connection.lost").wait_for()
    again = Page(hub.api.kubeconfig, tmp_path, "--address", address)
    try:
        seen.tab.locator("#connection:not(.lost)").wait_for()
    finally:
        again.stop()


HOSTILE = {
    "markup": "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "attribute": "\" onmouseover=\"document.title='owned'\" x='",
    "template": "{{ 7 * 7 }} {% for x in y %} ${7*7} <%= 7 %>",
    "svg": "</text></svg><script>document.title='owned'</script>",
    "address": "javascript:document.title='owned' data:text/html,x http://evil.example/<b>",
    "long": "x" * 1024,  # no text of the status may be longer
    "entity": "&lt;b&gt; &#60;script&#62; \\u003cscript\\u003e",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_shown_and_never_obeyed(hub, full_page, open_tab, kind):
    text, name = HOSTILE[kind], f"hostile-{kind}".ljust(63 if kind == "long" else 0, "x")
    condition = {"type": "Approved", "status": "False", "reason": "AwaitingReview", "message": text,
                 "lastTransitionTime": minutes(0)}  # fmt: skip
    hub.apply(name)
    hub.say(name, phase=Phase.PROPOSED, cluster="no-osl-1", start=minutes(30), first_start=None, summary=text,
            conditions=(condition,), logs=({"attempt": 1, "cluster": "no-osl-1", "phase": "Failed", "tail": text},),
            candidates=({"cluster": "no-osl-1", "verdict": "Chosen", "message": text, "costUsd": 1.0, "gramsCo2e": 2.0},
                        {"cluster": "us-oh-1", "verdict": "Feasible", "message": text, "costUsd": 2.0,
                         "gramsCo2e": 1.0}))  # fmt: skip
    full_page.shows(name, "/jobs")
    seen = open_tab(width=390)
    for view in (f"/jobs/team-a/{name}", "/jobs", "/timeline", "/", "/proposals"):
        seen.tab.goto(full_page.url + view)
        seen.tab.mouse.move(200, 400)
        assert "owned" not in seen.tab.title()
        assert seen.tab.evaluate("document.documentElement.scrollWidth") <= 390, view
        assert seen.tab.locator("main script, main img[src=x], main b:has-text('hostile')").count() == 0
        links = seen.tab.locator("a").evaluate_all(
            "all => all.map(each => new URL(each.getAttribute('href'), location).protocol)"
        )
        assert set(links) <= {"http:", "https:"}
    seen.tab.goto(f"{full_page.url}/jobs/team-a/{name}")
    assert text[:200] in seen.tab.locator("main").inner_text()
    assert (seen.problems, seen.outside(full_page)) == ([], [])


def test_marks_of_direction_and_of_terminals_are_made_visible(hub, full_page):
    hub.apply("bidi")
    hub.patch("bidi", {"phase": "Waiting", "summary": "a\u202egnp.exe \x1b[31mred\x1b[0m \u2066x\u2069 \x00"})
    text = full_page.shows("gnp.exe", "/jobs?q=bidi")
    assert not set(text) & set("\u202e\u2066\u2069\x1b\x00")
