"""The live page over 10,000 jobs in the embedded API: time to first paint in Chromium, of an update, and of the server.

python benchmarks/live_page.py [--jobs N]; needs Chromium (apt-get install chromium).
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "ui"))

from served_page import CANDIDATES, EXPECTED, ZONES, Hub, Page, install, minutes

from carbonfleet.api.job_status import Phase
from carbonfleet.local.ports import free_port
from fixtures.kubeapi_server import KubeApi

PHASES = (Phase.WAITING, Phase.RUNNING, Phase.SUCCEEDED, Phase.BLOCKED)
PAINT = """() => new Promise(told => new PerformanceObserver(list => {
  const found = list.getEntriesByName("first-contentful-paint")[0];
  if (found) told(found.startTime);
}).observe({type: "paint", buffered: true}))"""
VIEWS = ("/", "/timeline", "/jobs", "/jobs?q=job-99&sort=carbon&page=2", "/savings", "/proposals", "/jobs/team-a/job-1")


def fill(hub: Hub, count: int) -> None:
    """Jobs with candidates and a status, as a busy fleet has them."""
    for name in ZONES.values():
        hub.join(name)
    hub.write_grid()
    spokes = list(ZONES.values())

    def make(number: int) -> None:
        name, hours = f"job-{number}", number % 48
        hub.apply(name, f"team-{'ab'[number % 2]}")
        hub.say(
            name,
            f"team-{'ab'[number % 2]}",
            phase=PHASES[number % len(PHASES)],
            cluster=spokes[number % len(spokes)],
            start=minutes(60 * hours - 600),
            summary=f"Job {number} goes where it is clean, and waits until then.",
            expected=EXPECTED,
            candidates=CANDIDATES,
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(count)))


def measure(hub: Hub, count: int) -> None:
    """Print what a reader waits for."""
    began = time.monotonic()
    page = Page(hub.api.kubeconfig, hub.folder)
    process = psutil.Process(page.process.pid)
    try:
        page.shows("job-", "/jobs")
        print(f"first rows after {time.monotonic() - began:.1f} s")
        page.shows(f"of {count} jobs", "/jobs")
        print(f"all {count} read after {time.monotonic() - began:.1f} s, {process.memory_info().rss / 2**20:.0f} MiB")
        for view in VIEWS:
            took = [page.get(view).elapsed.total_seconds() for _ in range(5)]
            print(f"server, {view}: {1000 * statistics.median(took):.0f} ms")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for view in VIEWS:
                tab = browser.new_page(viewport={"width": 1600, "height": 900})
                tab.goto(page.url + view)
                print(f"first paint, {view}: {tab.evaluate(PAINT):.0f} ms")
                tab.close()
            measure_updates(hub, page, browser.new_page())
            browser.close()
    finally:
        page.stop()


def measure_updates(hub: Hub, page: Page, tab: object) -> None:
    """While others change: how soon one is shown, and for how long at most the tab was busy."""
    tab.goto(page.url + "/jobs?q=team-a/job-10")
    tab.evaluate(
        "() => { window.longest = 0; new PerformanceObserver(list => list.getEntries().forEach(each => "
        "window.longest = Math.max(window.longest, each.duration))).observe({entryTypes: ['longtask']}); }"
    )
    waits = []
    for turn in range(10):
        for number in range(20):
            hub.say(f"job-{2 * number}", "team-a", phase=Phase.RUNNING, summary=f"Turn {turn}.")
        began = time.monotonic()
        hub.say("job-10", "team-a", phase=Phase.RUNNING, summary=f"Seen in turn {turn}.")
        tab.get_by_text(f"Seen in turn {turn}.").wait_for()
        waits.append(time.monotonic() - began)
    longest, middle = tab.evaluate("window.longest || 0"), statistics.median(waits)
    print(f"a change is shown after {middle:.1f} s (at most {max(waits):.1f}), longest task {longest:.0f} ms")


def main() -> None:
    """Everything, in a folder that is removed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    count = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder:
        api = KubeApi(Path(folder), free_port())
        api.start()
        try:
            install(api)
            hub = Hub(api, Path(folder))
            fill(hub, count)
            measure(hub, count)
        finally:
            api.stop()


if __name__ == "__main__":
    main()
