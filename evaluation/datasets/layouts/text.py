"""The text files and captions of a data set."""

from __future__ import annotations

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError


def read_lines(path: str) -> tuple[str, ...]:
    """The lines of a UTF-8 text file; an empty one is an InputError."""
    lines = tuple(line.rstrip("\r") for line in read_text(path).removesuffix("\n").split("\n"))
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise InputError(f"{path}: line {number} is empty")
    return lines


def read_text(path: str) -> str:
    return decode_text(path, files.read_bytes(path))


def decode_text(where: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8") from error


def read_templates(path: str) -> tuple[str, ...]:
    """Prompts, a line each, in which ``{c}`` stands for the class; a line without it is an InputError."""
    templates = read_lines(path)
    for number, template in enumerate(templates, 1):
        if "{c}" not in template:
            raise InputError(f"{path}: line {number} has no {{c}}")
    return templates


def split_captions(text: str) -> tuple[str, ...]:
    """One caption a line, split at the line feed alone; blank lines are none."""
    return tuple(line for line in text.split("\n") if line.strip())
