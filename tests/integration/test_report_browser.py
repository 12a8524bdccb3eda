"""The report in a real browser, from ``file://``: threshold, keyboard, phones, dark mode, hostile data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clipsieve.evaluation.report.page import run

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
if BROWSER is None or DRIVER is None:
    pytest.skip("needs chromium and chromedriver on PATH; this machine has not both", allow_module_level=True)

from selenium import webdriver  # noqa: E402
from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(finished_run, tmp_path_factory):
    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("report") / "run")
    return Path(run(str(folder))).as_uri()


@pytest.fixture
def page(chromium, report):
    """The report, freshly opened at a laptop's width in light mode."""
    _show_at(chromium, 1280, "light")
    chromium.get(report)
    return chromium


def test_dragging_the_threshold_moves_the_counts(page):
    assert _counts(page) == (22, 33)
    plot = page.find_element(By.ID, "plot")
    quarter = plot.size["width"] // 4
    _drag(page, plot, (-quarter, 0))
    kept, below = _counts(page)
    assert kept > 22
    _drag(page, plot, (-quarter, 0), (2 * quarter, -plot.size["height"]))  # on above the plot: it is held
    fewer, more = _counts(page)
    assert fewer < 22
    assert kept + below == fewer + more == 55
    ActionChains(page).move_to_element(plot).perform()
    assert _counts(page) == (fewer, more)  # let go: it follows the pointer no more


def test_the_keyboard_moves_it_and_says_so(page):
    slider = page.find_element(By.ID, "threshold")
    slider.send_keys(Keys.HOME)
    assert _counts(page) == (55, 0)
    assert "55 pairs kept, 100.0%, 0 below" in slider.get_attribute("aria-valuetext")
    slider.send_keys(Keys.END)
    assert _counts(page) == (0, 55)
    at_end = float(slider.get_attribute("aria-valuenow"))
    slider.send_keys(Keys.ARROW_LEFT)
    one_lower = float(slider.get_attribute("aria-valuenow"))
    slider.send_keys(Keys.PAGE_DOWN)
    assert float(slider.get_attribute("aria-valuenow")) < one_lower < at_end
    slider.send_keys(Keys.PAGE_UP, Keys.ARROW_RIGHT)
    assert float(slider.get_attribute("aria-valuenow")) == at_end


def test_cuts_are_one_press_away(page):
    button = page.find_element(By.CSS_SELECTOR, "[data-cut=top20]")
    button.send_keys(Keys.ENTER)
    assert _counts(page) == (11, 44)
    assert button.get_attribute("aria-pressed") == "true"
    assert page.find_element(By.CSS_SELECTOR, "[data-cut=top40]").get_attribute("aria-pressed") == "false"


def test_what_is_kept_is_painted_to_the_right_of_the_threshold(page):
    slider = page.find_element(By.ID, "threshold")
    for keys in ((), (Keys.PAGE_UP,), (Keys.HOME,), (Keys.END,)):
        if keys:
            slider.send_keys(*keys)
        clip, bars = (
            page.execute_script(f"return document.querySelector('{query}').{value}")
            for query, value in (("#kept-clip", "x.baseVal.value"), (".bars", "viewBox.baseVal.width"))
        )
        line = page.execute_script("return parseFloat(document.getElementById('threshold').style.left)")
        assert clip / bars == pytest.approx(line / 100, abs=1e-4)


def test_the_tab_key_reaches_everything_and_focus_shows(page):
    reached, places = [], []
    for _ in range(len(page.find_elements(By.CSS_SELECTOR, "a, button, summary, [tabindex]"))):
        page.switch_to.active_element.send_keys(Keys.TAB)
        element = page.switch_to.active_element
        reached.append(element)
        places.append(element.rect["x"])
        assert element.value_of_css_property("outline-style") != "none", element.tag_name
    assert reached[0].get_attribute("class") == "skip"
    assert min(places) >= 0
    assert page.find_element(By.ID, "threshold") in reached
    assert len({element.id for element in reached}) == len(reached)


@pytest.mark.parametrize("width", [320, 360, 768])
def test_the_page_never_scrolls_sideways(page, width):
    _show_at(page, width, "light")
    for details in page.find_elements(By.TAG_NAME, "details"):
        page.execute_script("arguments[0].open = true", details)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_dark_mode_is_dark(page):
    light = page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    _show_at(page, 1280, "dark")
    dark = page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    assert (light, dark) == ("rgba(255, 255, 255, 1)", "rgba(20, 23, 26, 1)")


def test_hostile_captions_do_nothing_and_nothing_is_asked_for(page):
    images = "return [...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    assert page.execute_script(images)
    fetched = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert all(name.startswith("data:") for name in fetched)
    assert page.get_log("browser") == []  # no error, no refusal of the content security policy


def _drag(page, element, *moves):
    """Press at the element's middle, move by each offset, let go."""
    actions = ActionChains(page).move_to_element(element).click_and_hold()
    for x, y in moves:
        actions.move_by_offset(x, y)
    actions.release().perform()


def _counts(page):
    return tuple(int(page.find_element(By.ID, name).text) for name in ("kept", "below"))


def _show_at(page, width, theme):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preference = {"name": "prefers-color-scheme", "value": theme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
