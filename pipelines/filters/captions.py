"""Captions that are no caption: names of files, and what programs leave behind."""

from __future__ import annotations

import re

_EXTENSIONS = "jpe?g|jpe|png|gif|webp|bmp|tiff?|svgz?|heic|heif|avif|jfif|ico|psd|eps|raw|cr2|nef|pdf|mp4|mov|html?|php"
_FILE_NAME = re.compile(rf"[^\n]*[^\s.]\.(?:{_EXTENSIONS})\W?", re.IGNORECASE)
_NUMBERED = re.compile(
    r"(?:_?(?:img|dsc[nf]?|pict|mvimg|pxl|image|photo|picture|pic|scan|screenshot|screen shot|untitled|thumb(?:nail)?|"
    r"file|download|unnamed|vid)|p|wp|[0-9a-f]{16,})[\W_]*[\d\W_]*(?:at|[ap]m|copy|edit(?:ed)?|[\d\W_])*",
    re.IGNORECASE,
)
_JOINED = re.compile(r"\S*\w_\w\S*")
_BARE_NUMBER = re.compile(r"[\d\W_]*\d[\d\W_]*")
_HAS_DIGIT = re.compile(r"\d")
_MARKUP = re.compile(
    r"</?[a-z][^<>]*>"  # an element
    r"|<!--|<!\[CDATA\["
    r"|&(?:[a-z]{2,8}|#\d{1,6}|#x[0-9a-f]{1,5});"  # an entity
    r"|\[/?(?:b|i|u|url|img|quote|caption|gallery|code)\b[^\[\]]*\]"  # BBCode, WordPress
    r"|\{\{|\{%|\$\{|<\?php|<%"  # templates
    r"|\b(?:HASH|ARRAY|CODE|SCALAR)\(0x[0-9a-f]+\)|\[object \w+\]"  # values that were printed
    r"|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}"  # escapes
    r"|\bfunction\s*\([^)]*\)\s*\{|\bvar \w+\s*=",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)


def is_file_name(caption: str) -> bool:
    """Whether the whole caption is a file's name (``beach-2.jpg``, ``DSC_0012``), words that underscores join
    (``user_home``), a number or a bare web address.
    """
    text = caption.strip()
    is_numbered = bool(_NUMBERED.fullmatch(text) and _HAS_DIGIT.search(text))
    return is_numbered or any(pattern.fullmatch(text) for pattern in (_FILE_NAME, _JOINED, _BARE_NUMBER, _ADDRESS))


def is_markup(caption: str) -> bool:
    """Whether the caption holds HTML, an entity, BBCode, a template's or a program's syntax."""
    return _MARKUP.search(caption) is not None
