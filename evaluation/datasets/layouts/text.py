"""The text files and captions of a data set."""

from __future__ import annotations

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError


def read_lines(path: str) -> tuple[str, ...]:
    """The lines of a UTF-8 text file without the white space around them; an empty one is an InputError."""
    lines = read_names(path)
    if "" in lines:
        raise InputError(f"{path}: line {lines.index('') + 1} is empty")
    return lines


def read_names(path: str) -> tuple[str, ...]:
    """`read_lines`, in which an empty line between others keeps its place: a class without a name has an index too."""
    names = tuple(line.strip() for line in read_text(path).rstrip().split("\n"))
    if not any(names):
        raise InputError(f"{path}: has no line of text")
    return names


def read_text(path: str) -> str:
    return decode_text(path, files.read_bytes(path))


def decode_text(where: str, data: bytes) -> str:
    """UTF-8, with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
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


def listed_captions(given: object) -> tuple[str, ...]:
    """The captions of a list, or those that a text has in its lines; what is null or blank is none."""
    if isinstance(given, str):
        return split_captions(given)
    return tuple(text for text in given if isinstance(text, str) and text.strip()) if isinstance(given, list) else ()
