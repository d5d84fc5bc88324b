"""The report: self-contained, escaped, and holding what a reader needs to judge a run."""

import base64
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn.apps.metrics import evaluate
from minicnn.apps.plots import plot_confusion
from minicnn.apps.report import write_report

HOSTILE = "<script>alert('x')</script>\"'&<img src=https://evil.example/x onerror=alert(1)>"
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Elements with their attributes, and the text; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    labels = np.arange(100) % 2
    predictions = np.where(np.arange(100) < 80, labels, 1 - labels)
    figure = tmp_path / "confusion.png"
    plot_confusion([[40, 10], [10, 40]], ["happy", "sad"], figure)
    epoch = {"epoch": 1, "train_loss": 1.5, "train_accuracy": 0.4, "val_loss": 1.25, "val_accuracy": 0.5}
    return {
        "title": "four layers",
        "summary": {
            "data": "fer2013",
            "split": "public",
            "sha256": "0123456789abcdef" * 4,
            "notes": ("43 images shared across splits",),
            "command": "minicnn train --layers 4 --seed 0",
            "layers": 4,
            "epochs": 1,
            "seconds": 754.2,
            "images_per_second": 2412.3,
            "parameters": 1234567,
            "val_accuracy": 0.5,
        },
        "config": {"lr": 0.1, "ema": None, "augment": {"flip": True}, "betas": [0.9, 0.999]},
        "history": [{**epoch, "lr": 0.1, "seconds": 12.5, "images_per_second": 2412.3}],
        "metrics": evaluate(labels, np.eye(2)[predictions], ["happy", "sad"]),
        "network": "layer    output\nconv1    (64, 48, 48)",
        "figures": {"confusion": figure},
    }


@pytest.fixture
def render(tmp_path: Path, arguments: dict[str, Any]) -> Any:
    """Write the report with some arguments replaced, and read it."""

    def write(**replaced: Any) -> Page:
        write_report(tmp_path / "report.html", **{**arguments, **replaced})
        return Page((tmp_path / "report.html").read_text(encoding="utf-8"))

    return write


def test_report_opens_with_the_headline_figures(render: Any) -> None:
    text = render().text
    assert "Accuracy 80.0 % 71.1–86.7 %" in text
    assert "Macro F1 80.0 %" in text
    assert "Training time 12 min 34 s 1 epoch · 2,412 images/s" in text
    assert "Parameters 1,234,567 4 convolutional layers" in text


def test_report_names_data_split_and_hash(render: Any) -> None:
    text = render().text
    assert "data fer2013 split public sha256 " + "0123456789abcdef" * 4 in text
    assert "100, by label: happy 50, sad 50" in text
    assert "43 images shared across splits" in text


def test_report_has_a_row_a_class_with_intervals(render: Any) -> None:
    text = render().text
    assert "happy 80.0 % 80.0 % 67.0–88.8 % 80.0 % 50" in text
    assert "macro average 80.0 %" in text
    assert "weighted average 80.0 %" in text


def test_report_shows_epochs_network_command_and_configuration(render: Any) -> None:
    page = render()
    assert "1 1.5000 1.2500 40.0 % 50.0 % 0.1 12.5 s 2,412" in page.text
    assert "minicnn train --layers 4 --seed 0" in page.text
    assert "lr 0.1 ema – augment.flip yes betas 0.9, 0.999" in page.text
    assert "layer    output\nconv1    (64, 48, 48)" in page.words


def test_report_lists_other_facts_of_the_run(render: Any) -> None:
    assert "val accuracy 0.5" in render().text


def test_report_says_what_labels_mean(render: Any) -> None:
    assert "how people named the face in a picture, not what somebody felt" in render().text


@pytest.mark.parametrize(("split", "warned"), [("val", True), ("public", False)])
def test_report_warns_where_the_split_chose_the_epoch(split: str, warned: bool, render: Any) -> None:
    assert ("The best epoch was chosen on this split" in render(summary={"split": split}).text) is warned


def test_report_embeds_the_figures_whole(render: Any, arguments: dict[str, Any]) -> None:
    (image,) = render().all("img")
    kind, _, data = str(image["src"]).partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data, validate=True) == arguments["figures"]["confusion"].read_bytes()
    assert str(image["alt"]).startswith("Confusion matrix")


def test_report_loads_nothing_from_elsewhere(render: Any) -> None:
    page = render()
    addresses = [attributes[name] for _, attributes in page.elements for name in ("src", "href") if name in attributes]
    assert all(str(address).startswith("data:") for address in addresses)
    assert not page.all("script")
    assert not page.all("iframe")


def test_report_forbids_the_browser_to_load_anything_from_elsewhere(render: Any) -> None:
    policies = [
        attributes["content"]
        for attributes in render().all("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_report_styles_ask_for_no_file(render: Any, tmp_path: Path) -> None:
    render()
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_report_fits_phones_and_both_color_schemes(render: Any, tmp_path: Path) -> None:
    page = render()
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "@media (prefers-color-scheme: dark)" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_every_text_is_escaped(render: Any, arguments: dict[str, Any]) -> None:
    figure = arguments["figures"]["confusion"]
    page = render(
        title=HOSTILE,
        summary={"data": HOSTILE, "split": HOSTILE, "notes": [HOSTILE], "command": HOSTILE, HOSTILE: HOSTILE},
        config={HOSTILE: {HOSTILE: HOSTILE}},
        metrics=evaluate([0, 1], np.eye(2), [HOSTILE, "sad"]),
        network=HOSTILE,
        figures={HOSTILE: figure},
    )
    assert not page.all("script")
    assert len(page.all("img")) == 1
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert page.words.count(HOSTILE) >= 8


def test_report_of_a_bare_run_needs_no_summary_history_or_figures(render: Any) -> None:
    page = render(summary={}, config={}, history=[], figures={})
    assert "Accuracy 80.0 %" in page.text
    assert not page.all("img")
    assert not page.all("details")


@pytest.mark.parametrize(("seconds", "shown"), [(4.25, "4.2 s"), (61, "1 min 01 s"), (7384, "2 h 03 min")])
def test_times_are_in_units_that_people_read(seconds: float, shown: str, render: Any) -> None:
    assert f"Training time {shown}" in render(summary={"seconds": seconds}).text


def test_report_that_fails_leaves_the_old_one(render: Any, tmp_path: Path) -> None:
    render()
    before = (tmp_path / "report.html").read_bytes()
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        render(figures={"curves": tmp_path / "missing.png"})
    assert (tmp_path / "report.html").read_bytes() == before
