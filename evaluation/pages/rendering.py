"""HTML pages that stand alone: style, script, images and numbers in the one file.

Captions and names are hostile: Jinja escapes everything, data for the script is JSON with ``<`` escaped, and
a content security policy allows this style and this script alone, by their digests, and no connection.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clipsieve.evaluation.pages import words
from clipsieve.schemas import strict_json

_HERE = Path(__file__).parent


def render_page(template: Path, script: str = "", **shown: Any) -> bytes:
    """The page of ``template``, which may include what lies next to it or here, UTF-8.

    ``script`` is the text of its one script.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_function"] = strict_json.dumps
    environment.filters.update(
        count="{:,}".format,
        percent=lambda fraction: f"{100 * fraction:.1f}%",
        similarity=lambda value: f"{value:.4f}".replace("-", "\N{MINUS SIGN}"),
        signed=words.signed,
        consent=words.consent,
        loss=words.loss,
        metric=words.metric,
        subset=words.subset,
        trained_on=words.trained_on,
    )
    style = (_HERE / "style.css").read_text("utf-8")
    page = environment.get_template(template.name).render(
        style=style, script=script, style_digest=_digest(style), script_digest=_digest(script), **shown
    )
    return page.encode("utf-8", "replace")


def _digest(text: str) -> str:
    """A content security policy's name for an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
