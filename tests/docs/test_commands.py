"""Every command of the documents and of the commands' own help is one that the command line takes."""

from __future__ import annotations

import re

import pytest
import typer
from torch.distributed.run import get_args_parser

from clipsieve import cli  # noqa: F401  registers the commands
from clipsieve.app import app
from clipsieve.schemas.options.flags import beam_args, read_options
from clipsieve.schemas.stages import STAGES
from tests.docs.documents import DOCUMENTS, ROOT, commands, commands_of_line

ELLIPSIS = "…"
"""Stands in a command for arguments that are left out."""
ANY_STAGE = "STAGE"
APP = typer.main.get_command(app)
HELP = {f"clipsieve {name}": command.help or "" for name, command in APP.commands.items()}  # type: ignore[attr-defined]
WRITTEN = [(path.name, words) for path in DOCUMENTS for words in commands(path.read_text("utf-8"))]
WRITTEN += [(name, words) for name, text in HELP.items() for words in commands(text)]


def _in_comments() -> list[tuple[str, list[str]]]:
    """The commands of the Makefile, and of the comments in docker/, where the trainer's image runs torchrun."""
    found = []
    for path in (ROOT / "Makefile", *sorted((ROOT / "docker").iterdir())):
        text = re.sub(r"\\\n#?", " ", path.read_text("utf-8"))
        text = re.sub(r"docker run .* clipsieve-trainer", "torchrun", text).replace("$(BIN)/", "")
        lines = [line.strip("# \t") for line in text.splitlines()]
        found += [(path.name, words) for line in lines for words in commands_of_line(line)]
    return found


def parse(words: list[str]) -> None:
    """Read a command to its end, options validated, without running it."""
    program, *arguments = words
    if program == "torchrun":
        launch = get_args_parser().parse_args(arguments)
        assert launch.no_python and launch.training_script == "clipsieve"
        arguments = launch.training_script_args
    name, *arguments = arguments
    if name == ANY_STAGE:
        name = "train"
    command = APP.commands[name]  # type: ignore[attr-defined]
    if arguments in ([], ["--help"]):
        return  # the command is only mentioned
    if ELLIPSIS in arguments:
        arguments = [word for word in arguments if word != ELLIPSIS]
        left_out = [p for p in command.params if p.required and not {*p.opts} & {*arguments}]
        arguments = [*(word for parameter in left_out for word in (parameter.opts[0], "x")), *arguments]
    try:
        context = command.make_context(name, arguments)
    except typer.Exit:  # of a flag that ends the command by itself, as --list
        return
    if context.args:
        assert command.context_settings["allow_extra_args"]
        beam_args(context)
    if name in STAGES:
        read_options(STAGES[name].options, context)


@pytest.mark.parametrize(
    ("where", "words"),
    WRITTEN + _in_comments(),
    ids=str,
)
def test_a_written_command_is_one(where: str, words: list[str]) -> None:
    parse(words)


def test_every_document_with_commands_is_read() -> None:
    """The README alone has seven commands of its five lines and of training; each command's help has its example."""
    assert sum(where == "README.md" for where, _ in WRITTEN) >= 10
    assert {name for name, text in HELP.items()} <= {where for where, _ in WRITTEN}
    assert {"Makefile", "trainer.Dockerfile", "flink.compose.yaml"} <= {where for where, _ in _in_comments()}


@pytest.mark.parametrize(
    "line",
    [
        "clipsieve trian --shards s --out o",
        "clipsieve train --shards s --out o --batchsize 5",
        "clipsieve train --shards s --out o --batch-size none",
        "clipsieve train … --batch-size none",
        "clipsieve train --shards s",
        "clipsieve report run --out o",
        "clipsieve select --scores s --out o runner",
        "torchrun --nproc-per-node 2 -m clipsieve.training.train --shards s --out o",
        "torchrun --nproc-per-node 2 --no-python clipsieve train --shards s",
    ],
)
def test_what_is_no_command_is_found(line: str) -> None:
    (words,) = commands_of_line(line)
    with pytest.raises((Exception, SystemExit)):
        parse(words)
