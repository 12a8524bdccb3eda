"""What every quickstart starts from: the same pairs, captions, troubles and recipe, whoever runs it."""

from __future__ import annotations

import io
import socket
import urllib.request
from collections import Counter
from importlib.resources import files as resources
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.pipelines.quickstart import inputs
from clipsieve.pipelines.quickstart.inputs import prepare, serve_pairs
from clipsieve.pipelines.quickstart.web import Behaviour
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.recipe import load_recipe
from clipsieve.schemas.uid import uid_of

PORT = 18_000
END_WELL = {Behaviour.REDIRECT, Behaviour.WRONG_TYPE, Behaviour.FLAKY}


@pytest.fixture(scope="module")
def embedded() -> list[dict]:
    data = (resources("clipsieve.pipelines.quickstart") / "pairs.parquet").read_bytes()
    return pq.read_table(io.BytesIO(data)).to_pylist()


def test_the_inputs_are_the_same_each_time(tmp_path: Path) -> None:
    recipes = [prepare(str(tmp_path / name), PORT) for name in ("one", "other", "one")]
    assert recipes[0] == recipes[2] == tmp_path / "one" / "recipe.yaml"
    for name in ("recipe.yaml", "pairs/pairs.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_another_port_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    prepare(str(tmp_path), PORT)
    before = (tmp_path / "pairs" / "pairs.parquet").read_bytes()
    with pytest.raises(InputError, match=r"pairs\.parquet: another quickstart began here"):
        prepare(str(tmp_path), PORT + 1)
    assert (tmp_path / "pairs" / "pairs.parquet").read_bytes() == before


def test_the_recipe_allows_its_own_server_alone(tmp_path: Path) -> None:
    recipe = load_recipe(prepare(str(tmp_path), PORT))
    assert recipe.download is not None and recipe.select is not None
    assert recipe.download.allow_hosts == (f"127.0.0.1:{PORT}",)
    assert [run.subset for run in recipe.train] == ["top40", None]
    assert recipe.train[0].options() == recipe.train[1].options()
    assert recipe.train[0].samples // recipe.train[0].batch_size > recipe.train[0].warmup_steps
    failures = sum(count for kind, count in inputs.TROUBLED_PAGES.items() if kind not in END_WELL)
    assert max(recipe.select.sizes) <= len(inputs.pair_table(PORT)) - inputs.DUPLICATE_ROWS - failures


def test_the_embedded_pairs_fit_the_package(embedded: list[dict]) -> None:
    assert len(embedded) >= 1_000
    assert (resources("clipsieve.pipelines.quickstart") / "pairs.parquet").stat().st_size <= 12 << 20  # type: ignore[attr-defined]
    assert len({row["id"] for row in embedded}) == len(embedded)
    assert all(row["title"].strip() for row in embedded)
    for row in embedded[::40]:
        with Image.open(io.BytesIO(row["image"])) as image:
            image.load()


def test_half_of_the_captions_are_swapped_as_declared(embedded: list[dict]) -> None:
    rows = inputs.pair_table(PORT).to_pylist()
    originals = {row["id"]: row["title"] for row in embedded}
    unique = rows[: len(embedded)]
    for row in unique:
        assert row["swapped"] == (row["caption"] != originals[row["source_id"]])
    # A pair whose new caption reads like its own is not swapped: titles repeat, seldom.
    assert inputs.SWAPPED_SHARE - 0.01 <= sum(row["swapped"] for row in unique) / len(unique) <= inputs.SWAPPED_SHARE
    # Captions are only dealt anew: each title stands as often as before.
    assert Counter(row["caption"] for row in unique) == Counter(originals.values())


def test_the_last_rows_repeat_the_first(embedded: list[dict]) -> None:
    rows = inputs.pair_table(PORT).to_pylist()
    assert rows[len(embedded) :] == rows[: inputs.DUPLICATE_ROWS]
    uids = [uid_of(row["url"], row["caption"]) for row in rows]
    assert len(set(uids)) == len(embedded) == len(rows) - inputs.DUPLICATE_ROWS


def test_every_behaviour_of_the_web_is_met() -> None:
    assert set(inputs.TROUBLED_PAGES) == set(Behaviour) - {Behaviour.OK}
    assert all(inputs.TROUBLED_PAGES.values())


def test_pages_are_served_with_the_declared_troubles(embedded: list[dict]) -> None:
    """Told apart by what a plain client sees of a page that it asks for once, but for those that hang or flood."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with serve_pairs(port) as base:
        opener = urllib.request.build_opener(_NoRedirect, _NoError)
        skipped = {Behaviour.STALL, Behaviour.OVERSIZED, Behaviour.TRUNCATED}
        ordered = inputs._in_hash_order(embedded)
        kinds = [kind for kind, count in inputs.TROUBLED_PAGES.items() for _ in range(count)]
        seen: Counter[str] = Counter()
        for row, kind in zip(ordered, [*kinds, *[Behaviour.OK] * 20], strict=False):
            if kind not in skipped:
                with opener.open(f"{base}/{quote(row['id'])}", timeout=10) as answer:
                    seen[_looks_like(answer, row["image"])] += 1
    troubled = inputs.TROUBLED_PAGES
    assert seen == {
        "404": troubled[Behaviour.NOT_FOUND],
        "500": troubled[Behaviour.FLAKY],
        "302": troubled[Behaviour.REDIRECT] + troubled[Behaviour.REDIRECT_LOOP] + troubled[Behaviour.REDIRECT_PRIVATE],
        "html": troubled[Behaviour.HTML],
        "noai": troubled[Behaviour.NOAI],
        "text/plain": troubled[Behaviour.WRONG_TYPE],
        "image": 20,
    }


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class _NoError(urllib.request.HTTPDefaultErrorHandler):
    def http_error_default(self, req, fp, code, msg, hdrs):
        return fp


def _looks_like(answer, image: bytes) -> str:
    if answer.status != 200:
        return str(answer.status)
    if answer.headers.get_content_type() == "text/html":
        return "html"
    assert answer.read() == image
    if answer.headers["X-Robots-Tag"]:
        return answer.headers["X-Robots-Tag"]
    return "text/plain" if answer.headers.get_content_type() == "text/plain" else "image"
