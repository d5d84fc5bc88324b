"""The live page in a real browser, whose camera plays a video in which a face appears and goes.

How fast it is: `python -m tests.browser WEIGHTS`.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from minicnn.data.dataset import CLASSES
from tests.browser import chromium, face_and_no_face, opened, served
from tests.portraits import astronaut, write_network

LABEL = re.compile(rf"^({'|'.join(CLASSES)}) \d+ %$")
SHARE = re.compile(r"^\d+ %$")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(write_network(tmp_path_factory.mktemp("network") / "small.safetensors")) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(face_and_no_face(tmp_path_factory.mktemp("camera") / "face.mjpeg")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page; the test fails if the page breaks its own policy, has an error or asks another server."""
    complaints: list[str] = []
    with opened(browser, "about:blank") as page:
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(address) or complaints.append(request.url))
        page.goto(address)
        yield page
    assert complaints == []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), astronaut())
    return path


def test_a_face_that_appears_gets_box_label_and_bars_and_loses_them_when_it_goes(page: Page) -> None:
    page.click("#start")
    for _ in range(2):
        expect(page.locator(".face")).to_have_count(1)
        expect(page.locator(".face span")).to_have_text(LABEL)
        expect(page.locator("article li")).to_have_count(7)
        expect(page.locator(".face")).to_have_count(0)
        expect(page.locator("article")).to_have_count(0)


def test_the_box_is_on_the_face_in_the_mirror(page: Page) -> None:
    page.click("#start")
    box, stage = page.locator(".face").bounding_box(), page.locator("#stage").bounding_box()
    assert box is not None
    assert stage is not None
    middle = (box["x"] + box["width"] / 2 - stage["x"]) / stage["width"]
    assert middle == pytest.approx(1 - 290 / 640, abs=0.03)


def test_stopping_ends_the_camera_and_clears_the_page(page: Page) -> None:
    page.click("#start")
    expect(page.locator("#rate")).to_have_text(re.compile(r"^\d+ frames/s$"))
    page.click("#start")
    expect(page.locator("#start")).to_have_text("Start camera")
    expect(page.locator("#rate")).to_be_hidden()
    expect(page.locator(".face")).to_have_count(0)
    assert page.evaluate("document.querySelector('video').srcObject") is None


def test_a_photo_is_read_and_stays(page: Page, photo: Path) -> None:
    page.set_input_files("#file", photo)
    expect(page.locator("#status")).to_have_text("1 face.")
    expect(page.locator(".face span")).to_have_text(LABEL)
    expect(page.locator("article .share").first).to_have_text(SHARE)


def test_the_switch_shows_why(page: Page, photo: Path) -> None:
    page.set_input_files("#file", photo)
    expect(page.locator(".face canvas")).to_be_hidden()
    page.check("#why")
    expect(page.locator(".face canvas")).to_be_visible()
    page.uncheck("#why")
    expect(page.locator(".face canvas")).to_be_hidden()


def test_a_photo_that_is_none_is_said_so(page: Page, tmp_path: Path) -> None:
    (tmp_path / "letter.png").write_text("Dear Sir")
    page.set_input_files("#file", tmp_path / "letter.png")
    expect(page.locator("#status")).to_have_text("letter.png is no picture that this browser can show.")


def test_a_photo_without_a_face_is_said_so(page: Page, photo: Path) -> None:
    cv2.imwrite(str(photo), np.full((300, 300, 3), 90, np.uint8))
    page.set_input_files("#file", photo)
    expect(page.locator("#status")).to_have_text("No face was found.")


def test_a_camera_that_is_not_allowed_is_said_so(page: Page) -> None:
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError')); }"
    )
    page.click("#start")
    expect(page.locator("#status")).to_have_text(re.compile("^The browser does not let this page use the camera"))
    expect(page.locator("#start")).to_have_text("Start camera")


def test_a_server_that_has_gone_is_said_so(browser: Browser, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with served(write_network(tmp_path / "small.safetensors")) as address:
            page = stack.enter_context(opened(browser, address))
            page.click("#start")
            expect(page.locator(".face")).to_have_count(1)
        expect(page.locator("#status")).to_have_text(re.compile("^The connection has ended"))
        expect(page.locator("#start")).to_have_text("Start camera")


def test_it_says_what_happens_to_pictures_and_what_labels_mean(page: Page) -> None:
    text = page.inner_text("footer")
    assert "Nothing is stored." in text
    assert "do not say what somebody feels" in " ".join(text.split())
    assert "European Union" in text


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_phones_and_desktops(browser: Browser, address: str, photo: Path, width: int, scheme: Any) -> None:
    with opened(browser, address, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        page.set_input_files("#file", photo)
        expect(page.locator(".face")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) > 384) == (scheme == "light")
