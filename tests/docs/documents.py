"""The commands and recipes that the documents hold: those of fenced blocks and those of inline code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", *sorted(ROOT.glob("docs/*.md"))]
PROGRAMS = ("clipsieve", "torchrun")

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(rf"(?:^|&& )(?:{'|'.join(PROGRAMS)}) ")
_INLINE = re.compile(r"`([^`]+)`")


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks of a Markdown text in one of the languages."""
    return [block for language, block in _FENCED.findall(text) if language in languages]


def inline(text: str) -> list[str]:
    """The inline code of a Markdown text, each on one line."""
    return [" ".join(code.split()) for code in _INLINE.findall(_FENCED.sub("", text))]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of `PROGRAMS` in a Markdown text."""
    for block in blocks(text, "", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            yield from commands_of_line(line)
    for code in inline(text):
        yield from commands_of_line(code)


def commands_of_line(line: str) -> Iterator[list[str]]:
    """The same of a line of a shell, in which ``&&`` may join several."""
    if not _COMMAND.search(line):
        return
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word != "&&":
            words.append(word)
            continue
        if words and words[0] in PROGRAMS:
            yield words
        words = []
