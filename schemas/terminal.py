"""What is said to a terminal: captions, URLs, names and servers' answers are a stranger's, and no commands to it."""

from __future__ import annotations

import sys
import unicodedata

from rich.text import Text

_JOINERS = "\u200c\u200d"  # of Persian's letters and of emoji


def printable(text: str) -> str:
    """``text`` with each character that a terminal obeys or hides as Python writes it: ``\\x1b``, ``\\u202e``.

    Those are C0 and C1 controls, line breaks and tabs among them, marks of direction and others without a glyph, lone
    surrogates, and what Unicode has not assigned.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def cell(value: object) -> Text:
    """A stranger's value as a table of rich shows it: without its markup and controls."""
    return Text(printable(str(value)))


def say(text: str, is_error: bool = False) -> None:
    """Write lines of text, each `printable`, to standard output or error."""
    lines = "\n".join(map(printable, text.split("\n")))
    print(lines, file=sys.stderr if is_error else sys.stdout, flush=True)


def _shown(character: str) -> str:
    is_kept = character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"
    return character if is_kept else character.encode("unicode_escape").decode()
