"""The explorer in a real browser: sliders move curves, clicks read values, files come out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.explore import explore

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="there is no chromium on this machine"),
    pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


def fitted(n: int, d: int, tasks: int = 2) -> Any:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (n, d))
    task = np.arange(n) % tasks
    y = np.sin(6 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * task + 0.1 * rng.standard_normal(n)
    names = [f"x{k}" for k in range(d)]
    data = as_dataset(x, y, inputs=names, task=[f"part {t}" for t in task])
    return HierarchicalGP(Schema(inputs=tuple(names), target="y", task="task")).fit(data)


def curve(page: Any, trace: int) -> list[float]:
    """y of one trace, as plotly draws it."""
    found: list[float] = json.loads(
        page.evaluate(f"JSON.stringify(Array.from(document.querySelector('.js-plotly-plot').data[{trace}].y))")
    )
    return found


def changed(page: Any, trace: int, before: list[float]) -> list[float]:
    """The same, once it is another one."""
    for _ in range(200):
        after = curve(page, trace)
        if after != before:
            return after
        page.wait_for_timeout(50)
    raise AssertionError("the curve doesn't change")


def ready(browser: Any, url: str) -> Any:
    page = browser.new_page(viewport={"width": 1300, "height": 1000}, accept_downloads=True)
    page.goto(url)
    page.wait_for_selector(".js-plotly-plot .scatterlayer path", timeout=60_000)
    return page


def test_a_page_from_sliders_to_files(browser: Any, tmp_path: Path) -> None:
    model = fitted(60, 10)
    with explore(model, browser=False) as server:
        page = ready(browser, server.url)
        loaded = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        assert loaded
        assert all(name.startswith(server.url) for name in loaded)  # nothing comes from elsewhere
        before = curve(page, 2)
        slider = page.locator(".dash-slider-thumb, [role=slider]").nth(1)
        slider.focus()
        for _ in range(30):
            page.keyboard.press("ArrowRight")
        after = changed(page, 2, before)
        assert np.abs(np.array(after) - before).max() > 0.005
        box = page.locator(".xy .nsewdrag").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
        drawn = page.evaluate(
            """() => { const plot = document.querySelector('.js-plotly-plot'), trace = plot.data[2], k = 30;
            const x = plot._fullLayout.xaxis, y = plot._fullLayout.yaxis, area = plot.getBoundingClientRect();
            return [area.left + x._offset + x.d2p(trace.x[k]), area.top + y._offset + y.d2p(trace.y[k])] }"""
        )
        page.mouse.move(*drawn)
        page.wait_for_timeout(300)
        page.mouse.click(*drawn)
        page.wait_for_function("document.getElementById('value').innerText.includes('95 % of f')")
        with page.expect_download() as saving:
            page.click("#save")
        saving.value.save_as(tmp_path / "slices.csv")
        lines = (tmp_path / "slices.csv").read_text("utf-8").splitlines()
        assert lines[0].startswith("varies,x0,x1")
        assert len(lines) == 1 + 10 * 61
        with page.expect_download() as saving:
            page.locator("[data-title*='ownload plot']").first.click()
        saving.value.save_as(tmp_path / "slices.png")
        assert (tmp_path / "slices.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        page.click("#ask-health")
        page.wait_for_function("document.getElementById('health').innerText.length > 100")
        page.close()


def test_the_task_can_be_chosen(browser: Any) -> None:
    with explore(fitted(30, 3), browser=False) as server:
        page = ready(browser, server.url)
        before = curve(page, 2)
        page.click("#task")
        page.get_by_text("part 1", exact=True).last.click()
        after = changed(page, 2, before)
        assert 0.2 < np.mean(np.array(after) - before) < 0.8
        page.close()


@pytest.mark.slow
def test_five_thousand_readings_of_ten_inputs_stay_responsive(browser: Any) -> None:
    model = fitted(5000, 10, tasks=10)
    with explore(model, browser=False) as server:
        page = ready(browser, server.url)
        before = curve(page, 2)
        slider = page.locator(".dash-slider-thumb, [role=slider]").nth(1)
        slider.focus()
        started = time.process_time()  # the server's, which is in this process
        page.keyboard.press("ArrowRight")
        changed(page, 2, before)
        assert time.process_time() - started < 3  # .5 s were measured
        page.close()
