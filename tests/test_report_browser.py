"""Pages in headless Chromium: keyboard, pointer, colours, sizes, and nothing to complain of. Skipped without it."""

import contextlib
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from jaxdyn import report
from tests import browser
from tests.clips import texture
from tests.test_report import NASTY, everything, viewer


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if browser.find() is None:
        pytest.skip("needs Chromium, which is not here")
    with contextlib.ExitStack() as stack:
        try:
            tab = stack.enter_context(browser.tab(tmp_path_factory.mktemp("profile")))
        except (EOFError, BrokenPipeError):
            pytest.skip(f"{browser.find()} does not start")
        yield tab


@pytest.fixture
def shown(tmp_path):
    path = tmp_path / "page.html"
    report.write(path, NASTY, [report.Tiles([("20%", "of dense")]), viewer(7), *everything(NASTY)])
    return path


def centre(tab, selector):
    box = tab.run(f"(({selector})).getBoundingClientRect().toJSON()")
    return SimpleNamespace(**{**box, "x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2})


STATE = """(() => { const v = document.querySelector('.viewer'); return {
  split: getComputedStyle(v.querySelector('.stage')).getPropertyValue('--split'),
  shown: [...v.querySelectorAll('.shot')].filter(s => s.offsetHeight).map(s => s.dataset.shot),
  about: [...v.querySelectorAll('.about > div')].filter(s => s.offsetHeight).map(s => s.dataset.shot),
  map: [...v.querySelectorAll('.map')].filter(s => getComputedStyle(s).display != 'none' && s.getBoundingClientRect().height).length,
  legend: v.querySelector('.map-legend').offsetHeight > 0,
  left: [...v.querySelectorAll('.shot:not([hidden]) .is-left')].map(i => i.alt),
  right: [...v.querySelectorAll('.shot:not([hidden]) .is-right')].map(i => i.alt),
  focus: document.activeElement.type || document.activeElement.tagName,
  drawn: [...v.querySelectorAll('img')].every(i => i.naturalWidth == 60)}; })()"""  # noqa: E501


def test_a_page_works_by_keyboard(tab, shown):
    tab.open(shown)
    state = tab.run(STATE)
    assert state["shown"] == state["about"] == ["3"]
    assert (state["split"], state["map"], state["legend"], state["drawn"]) == ("50%", 0, False, True)
    assert (state["left"], state["right"]) == (["frame 3: input"], ["frame 3: dynamic"])
    tab.press("Tab")
    assert tab.run(STATE)["focus"] == "radio"
    tab.press("ArrowRight")
    assert tab.run(STATE)["shown"] == tab.run(STATE)["about"] == ["4"]
    tab.press("ArrowLeft")
    tab.press("ArrowLeft")
    assert tab.run(STATE)["shown"] == ["2"]
    assert float(tab.run("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")) >= 2
    kinds = []
    for _ in range(4):
        tab.press("Tab")
        kinds.append(tab.run(STATE)["focus"])
        if kinds[-1] == "checkbox":
            tab.press(" ")
    assert kinds == ["select-one", "select-one", "checkbox", "range"]
    state = tab.run(STATE)
    assert (state["map"], state["legend"]) == (1, True)
    before = float(state["split"].rstrip("%"))
    tab.press("ArrowRight")
    after = float(tab.run(STATE)["split"].rstrip("%"))
    assert after > before
    said = tab.run("document.querySelector('.divider').getAttribute('aria-valuetext')")
    assert said == f"{round(after)} % input, {100 - round(after)} % dynamic"
    assert float(tab.run("parseFloat(getComputedStyle(document.querySelector('.stage')).outlineWidth)")) >= 2
    assert tab.complaints == []


def test_a_page_works_by_pointer(tab, shown):
    tab.open(shown, height=1600)  # all of the stage is in sight
    stage = centre(tab, "document.querySelector('.stage')")
    tab.drag((stage.x, stage.y), (stage.x - stage.width / 4, stage.y))
    assert float(tab.run(STATE)["split"].rstrip("%")) == pytest.approx(25, abs=1)
    switch = centre(tab, "document.querySelector('.toggle')")
    tab.click(switch.x, switch.y)
    assert tab.run(STATE)["map"] == 1
    tab.click(switch.x, switch.y)
    assert tab.run(STATE)["map"] == 0
    radio = centre(tab, "document.querySelectorAll('.points input')[5]")
    tab.click(radio.x, radio.y)
    assert tab.run(STATE)["shown"] == ["5"]
    area = centre(tab, "document.querySelector('.points')")
    tab.click(area.left + 2, area.top + 5)  # beside all marks: the nearest one
    assert tab.run(STATE)["shown"] == ["0"]
    tab.run("(s => { s.value = 2; s.dispatchEvent(new Event('change')); })(document.querySelectorAll('select')[0])")
    assert tab.run(STATE)["left"] == ["frame 0: truth"]
    assert tab.complaints == []


def test_what_the_divider_shows(tab, shown):
    """Left of it the left picture, right of it the right one, pixel by pixel."""
    tab.open(shown, height=1600)  # all of the stage is in sight
    stage = centre(tab, "document.querySelector('.stage')")
    image = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(float)
    layers = [
        cv2.resize(texture(40, 60, 3 + n).astype(float), (round(stage.width), round(stage.height))) for n in (0, 1)
    ]
    for part, layer in ((0.3, 0), (0.7, 1)):
        y, x = round(0.7 * stage.height), round(part * stage.width)
        found = image[round(stage.top) + y - 8 : round(stage.top) + y + 8, round(stage.left) + x - 8 :][:, :16]
        errors = [np.abs(found - one[y - 8 : y + 8, x - 8 : x + 8]).mean() for one in layers]
        assert errors[layer] < 12 < errors[1 - layer]


@pytest.mark.parametrize("is_dark", [False, True])
def test_both_colour_schemes_are_readable(tab, shown, is_dark):
    tab.open(shown, is_dark=is_dark)
    pairs = tab.run(
        """[...document.querySelectorAll('h1, h2, dt, dd, td, th, .note, .y-label, .axes b, label, option')].map(e => {
          const under = e => getComputedStyle(e).backgroundColor;
          let ground = e; while (under(ground).endsWith(', 0)')) ground = ground.parentElement;
          return [getComputedStyle(e).color, under(ground)]; })"""
    )
    assert len(pairs) > 50
    assert min(contrast(*pair) for pair in pairs) >= 4.5
    ground = luminance(tab.run("getComputedStyle(document.body).backgroundColor"))
    assert ground < 0.05 if is_dark else ground > 0.8
    assert tab.complaints == []


def luminance(colour):
    """Relative luminance of "rgb(r, g, b)", as WCAG has it."""
    parts = np.array([int(part) / 255 for part in re.findall(r"\d+", colour)[:3]])
    return float(np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_phone_needs_no_sideways_scrolling_and_nothing_is_fetched(tab, shown):
    tab.fetched.clear()
    tab.open(shown, width=360, height=740)
    assert tab.run("document.documentElement.scrollWidth") == 360
    assert [url for url in tab.fetched if not url.startswith("data:")] == [shown.resolve().as_uri()]
    assert max(tab.run("[...document.querySelectorAll('.axes b')].map(e => e.offsetHeight)")) < 20  # one line
    sizes = "[...document.querySelectorAll('.axes b, dt, td')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    assert min(tab.run(sizes)) >= 12
    assert tab.complaints == []
