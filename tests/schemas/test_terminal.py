"""A stranger's text on a terminal: every character is shown, and none obeyed."""

from __future__ import annotations

import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from clipsieve.schemas.terminal import cell, printable, say

HOSTILE = {
    "title": "\x1b]0;owned\x07a cat",
    "clear": "\x1b[2J\x1b[H",
    "C1": "\x9b31m \x9d0;x\x9c",
    "hyperlink": "\x1b]8;;http://x\x07text\x1b]8;;\x07",
    "clipboard": "\x1b]52;c;ZWNobw==\x07",
    "overwrite": "good\rbad",
    "backspace": "rm\x08\x08ls",
    "lines": "ok\nok  forged: line\v\f\x85",
    "bidi": "\u202eevil\u202c \u2066x\u2069 \u200f",
    "invisible": "a\u200bb\ufeffc\u00add\U000e0041",
    "separators": "a\u2028b\u2029c",
    "surrogate": "a\ud800b",
    "device": "\x1bP+q544e\x1b\\ \x1b[6n \x05",
    "delete": "\x7f\x00",
}
MARKUP = [
    *("[bold]x[/bold]", "[link=http://x]y[/link]", "[/]", "[red", "a \\[b]", ":cat:", "[@click=app.bell]z[/]", "x\\"),
]
OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_terminal_obeys_is_written_as_python_writes_it(kind: str) -> None:
    shown = printable(HOSTILE[kind])
    assert not OBEYED.search(shown)
    assert shown != HOSTILE[kind]
    assert shown.encode("latin-1", "backslashreplace").decode("unicode_escape") == HOSTILE[kind]


SCRIPTS = {
    "Latin": "na\u00efve caf\u00e9",
    "Chinese": "\u732b\u3068\u72ac",
    "Arabic": "\u0642\u0637\u0629",
    "Hindi": "\u092e\u093f\u0928\u0940",
    "Persian, with a joiner": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "emoji, with joiners": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f",
    "spaces": "a\u00a0b\u3000c",
    "nothing": "",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_text_of_any_script_stays_as_it_is(script: str) -> None:
    assert printable(SCRIPTS[script]) == SCRIPTS[script]


@given(st.text())
def test_no_control_gets_through_and_no_other_character_changes(text: str) -> None:
    shown = printable(text)
    assert not OBEYED.search(shown)
    assert all(unicodedata.category(each) not in ("Cc", "Cs", "Zl", "Zp") for each in shown)
    assert [each for each in text if each.isprintable() and each not in shown] == []
    assert shown == text or not text.isprintable()


@pytest.mark.parametrize("text", [*HOSTILE.values(), *MARKUP])
def test_a_cell_has_neither_markup_nor_controls(text: str) -> None:
    table = Table("", show_header=False, box=None)
    table.add_row(cell(text))
    stream = io.StringIO()
    Console(file=stream, width=200, force_terminal=True, color_system="truecolor").print(table)
    assert stream.getvalue().strip("\n ") == printable(text).strip()


def test_lines_are_said_each_on_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\ntwo\x1b[2J\r\nthree")
    say("four\x9b", is_error=True)
    said = capsys.readouterr()
    assert said.out == "one\ntwo\\x1b[2J\\r\nthree\n"
    assert said.err == "four\\x9b\n"
