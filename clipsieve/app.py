"""The Typer application that every command registers with."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Turn a table of (URL, caption) rows into better CLIP models.",
)
