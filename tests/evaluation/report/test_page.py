"""The page as a file: self-contained, safe against its own data, accessible, the same for the same data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipsieve.evaluation.pages import rendering
from clipsieve.evaluation.report.page import run
from clipsieve.schemas.errors import InputError

STYLE = Path(rendering.__file__).with_name("style.css").read_text("utf-8")


class Page(HTMLParser):
    """A page's elements with their attributes, the text of its inline blocks, and its visible text."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.blocks, self.text, self._block = [], [], "", None
        self.feed(Path(path).read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._block = tag if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self._block = None

    def handle_data(self, data):
        if self._block:
            self.blocks.append((self._block, data))
        else:
            self.text += data

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="module")
def report(finished_run, tmp_path_factory):
    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("report") / "run")
    return run(f"{folder}/")


@pytest.fixture(scope="module")
def page(report):
    return Page(report)


def test_it_says_what_the_run_says(page):
    text = " ".join(page.text.split())
    assert "Of 64 input rows, 56 became scored pairs and 55 may be selected; the top 40% keeps 22." in text
    assert "\N{MINUS SIGN}2 answered with an HTTP error" in text
    assert "\N{MINUS SIGN}1 smaller than the size limit" in text
    assert "accuracy (top 1) on Shapes: training on the top 40% is better than on all pairs by 15.0 points" in text
    assert "12 of 33 pairs" in text
    assert "4 of 60 requested pairs failed, 6.7%." in text
    assert "status 404: 1 status 503: 1, retryable" in text
    assert "nothing forbids it allowed" in text and "59 98.3%" in text


def test_nothing_is_loaded_from_anywhere(page):
    for name in ("src", "href", "action", "srcset", "data"):
        assert all(value.startswith(("#", "data:image/webp;base64,")) for value in page.attributes(name))
    assert not re.search(r"url\(|@import|https?:", STYLE)
    assert {tag for tag, _ in page.elements} & {"link", "iframe", "object", "embed", "form", "base"} == set()


def test_hostile_captions_are_text(page, finished_run):
    caption = pq.read_table(finished_run / "shards/00000.parquet")["caption"][0].as_py()
    assert "<script>" in caption
    assert caption in page.text
    assert [tag for tag, _ in page.blocks] == ["style", "script", "script"]
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.attributes("style") == []


def test_the_policy_allows_the_page_s_own_style_and_script_alone(page):
    (policy,) = (attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes)
    for kind, block in (("style", page.blocks[0][1]), ("script", page.blocks[2][1])):
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_script_s_numbers_are_the_run_s(page):
    data = json.loads(page.blocks[1][1])
    assert data["eligible"] == 55
    assert {cut: kept for _, kept, cut in data["stops"] if cut} == {"top20": 11, "top40": 22}
    assert data["stops"][data["start"]][2] == "top40"
    assert (data["stops"][0][1], data["stops"][-1][1]) == (55, 0)


def test_it_can_be_read_without_eyes(page):
    assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert set(page.attributes("aria-labelledby")) <= set(ids)
    assert {link[1:] for link in page.attributes("href") if link.startswith("#")} <= set(ids)
    (slider,) = (attributes for _, attributes in page.elements if attributes.get("role") == "slider")
    assert {"tabindex", "aria-label", "aria-valuemin", "aria-valuemax", "aria-valuenow"} <= slider.keys()


@pytest.mark.parametrize("theme", [0, 1])
def test_contrast_is_at_least_wcag_aa(theme):
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", STYLE.split(":root {")[theme + 1].split("}")[0]))
    for text in ("ink", "soft", "kept", "lost"):
        assert _contrast(colours[text], colours["ground"]) >= 4.5
    for graphic in ("dropped", "third"):
        assert _contrast(colours[graphic], colours["ground"]) >= 3


def test_the_same_data_give_the_same_bytes_in_another_folder_at_another_time(run_dir, report):
    for path in run_dir.rglob("manifest.json"):
        text = re.sub(r'_at": "[^"]*"', '_at": "2001-01-01T00:00:00+00:00"', path.read_text("utf-8"))
        path.write_text(text)
    assert Path(run(str(run_dir))).read_bytes() == Path(report).read_bytes()


def test_the_run_s_manifest_holds_those_of_its_stages_in_order(report):
    folder = Path(report).parents[1]
    stages = json.loads((folder / "manifest.json").read_text("utf-8"))["stages"]
    assert list(stages) == [
        "shards",
        "scores",
        "selection",
        "subsets",
        "models/all",
        "models/top40",
        "evaluations/all",
        "evaluations/top40",
    ]
    assert stages["models/top40"] == json.loads((folder / "models/top40/manifest.json").read_text("utf-8"))


def test_missing_parts_are_left_out_with_a_word(run_dir):
    for name in ("models", "evaluations", "subsets"):
        shutil.rmtree(run_dir / name)
    (run_dir / "shards/_manifest/manifest.json").unlink()
    text = " ".join(Page(run(str(run_dir))).text.split())
    assert "56 scored pairs and 55 may be selected." in text
    assert "No model is trained yet." in text
    assert "No subsets are cut yet." in text
    assert "The shards carry no manifest of a download" in text


@pytest.mark.parametrize(("name", "command"), [("shards", "download"), ("scores", "score"), ("selection", "select")])
def test_a_folder_that_must_be_there_is_named(run_dir, name, command):
    shutil.rmtree(run_dir / name)
    with pytest.raises(InputError, match=f"{name}: no such folder; run `clipsieve {command}`.* first"):
        run(str(run_dir))
    assert not (run_dir / "report").exists()


def test_a_stage_that_is_not_finished_is_named(run_dir):
    path = run_dir / "scores/manifest.json"
    path.write_text(path.read_text().replace('"complete"', '"running"'))
    with pytest.raises(InputError, match="scores: score is not finished there"):
        run(str(run_dir))


def _contrast(first, second):
    """WCAG 2.2's contrast ratio of two #rrggbb colours."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_mixture_is_told_by_its_shares(run_dir):
    path = run_dir / "models" / "top40" / "manifest.json"
    content = json.loads(path.read_text("utf-8"))
    part = content["subsets"][0]
    content["subsets"] = [part | {"name": "top20", "weight": 7}, part | {"name": "top40", "weight": 3}]
    path.write_text(json.dumps(content), "utf-8")
    text = Path(run(str(run_dir))).read_text("utf-8")
    assert "<td>70% top20 + 30% top40</td>" in text
    assert "not in the 70% top20 + 30% top40" in text
    assert "training on the 70% top20 + 30% top40 is better than on all pairs" in text
    assert "top20=7,top40=3" in text  # among what the stage was asked to do
