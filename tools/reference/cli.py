"""The command line: every command and option of the Typer application."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from projector.cli.commands import app
from tools.reference.markdown import block, code, codes, paragraphs, table

ABOUT = """Every command has `--help`. Those that report have `--json`: exactly one object on stdout, the rest on
stderr.

Exit codes: 0 done; 1 the answer is no (drift, lag, dead letters left); 2 wrong use or environment, in one line; 130
interrupted."""


def commands() -> Iterator[tuple[str, Any]]:
    """Each command by the words that call it, in the order of `--help`; groups where they can be called themselves."""
    yield from _below("prejoin", typer.main.get_command(app))


def page() -> str:
    """The page."""
    return paragraphs("# Command line", ABOUT, *(_command(words, command) for words, command in commands()))


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands") or command.invoke_without_command:
        yield words, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _below(f"{words} {name}", each)


def _command(words: str, command: Any) -> str:
    context = command.make_context(words, [], resilient_parsing=True)
    usage = " ".join([words, *command.collect_usage_pieces(context)])
    described = [(*p.get_help_record(context), p) for p in command.params if p.get_help_record(context)]
    rows = [(code(_name(names, p)), help) for names, help, p in described]
    return paragraphs(
        f"## {words}",
        inspect.cleandoc(command.help or command.short_help or ""),
        block("text", usage),
        table(("argument or option", ""), rows),
        _example(command.epilog or ""),
    )


def _name(names: str, parameter: Any) -> str:
    return names.partition(" <")[0] if parameter.param_type_name == "argument" else names


def _example(epilog: str) -> str:
    what, _, shown = epilog.partition(": ")
    return f"{what}: {codes(shown.split(', prejoin '))}".replace("`, `", "`, `prejoin ") if shown else epilog
