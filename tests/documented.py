"""What the documentation says is to be typed: commands, programs and settings, page by page."""

import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import typer
from markdown_it import MarkdownIt
from snakemake.cli import get_argument_parser

from mse.cli import app
from tests.conftest import ROOT

PAGES = ["README.md", "config/README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
PROGRAMS = ("mse", "snakemake")
SET_BEFORE = re.compile(r"(?:[A-Z_]+=\S+ )+")  # CUDA_VISIBLE_DEVICES=1 snakemake ...
PLACEHOLDER = re.compile(r"\.\.\.|\b[A-Z]{3,}\b")  # OWNER/NAME, work/CORPUS, and so on ...


class Said(NamedTuple):
    """Something to type or to write, and the page that says so."""

    page: str
    text: str


def fenced(language: str) -> list[Said]:
    """The fenced blocks of a language."""
    return [Said(page, token.content) for page, token in _tokens() if token.type == "fence" and token.info == language]


def commands() -> list[Said]:
    """Each command of the indented and the bash blocks, once."""
    blocks = [
        Said(page, token.content)
        for page, token in _tokens()
        if token.type == "code_block" or (token.type == "fence" and token.info == "bash")
    ]
    return _once(Said(block.page, text) for block in blocks for text in _split(block.text))


def spans() -> list[Said]:
    """Commands of ours within sentences, once each; some name no more than a subcommand."""
    inline = [
        Said(page, " ".join(child.content.split()))
        for page, token in _tokens()
        for child in token.children or []
        if child.type == "code_inline"
    ]
    return _once(said for said in inline if program(said.text) in PROGRAMS)


def links() -> list[Said]:
    """Files that links and pictures of a page lead to."""
    found = [
        Said(page, str(child.attrGet("href" if child.type == "link_open" else "src")).partition("#")[0])
        for page, token in _tokens()
        for child in token.children or []
        if child.type in ("link_open", "image")
    ]
    return [*dict.fromkeys(said for said in found if said.text and not said.text.startswith("http"))]


def program(command: str) -> str:
    """The first word of a command, without variables that are set before it."""
    return SET_BEFORE.sub("", command, count=1).partition(" ")[0]


def unknown(span: str) -> list[str]:
    """What a command within a sentence names and there is not: subcommands, options."""
    words = _words(span)
    if words[0] == "snakemake":
        known = {name for action in get_argument_parser()._actions for name in action.option_strings}
    else:
        command, rest = _subcommand(words[1:])
        if hasattr(command, "commands") and rest:
            return rest[:1]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        known |= {"--help"}
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    return [option for option in options if option not in known]


def complete(span: str) -> bool:
    """Whether a command within a sentence may be run as it stands: nothing left out, nothing to be filled in."""
    words = _words(span)
    if unknown(span) or len(words) == 1 or PLACEHOLDER.search(span):
        return False
    if words[0] == "snakemake":
        return True
    command, rest = _subcommand(words[1:])
    given = command.make_context(command.name, rest, resilient_parsing=True).params
    needed = [parameter.name for parameter in command.params if parameter.required]
    return not hasattr(command, "commands") and all(given[name] for name in needed)


def _words(span: str) -> list[str]:
    return [word for word in shlex.split(SET_BEFORE.sub("", span, count=1)) if word != "..."]


def _subcommand(words: list[str]) -> tuple[Any, list[str]]:
    """The command of ours that the words name, as far as there is one, and the words behind its name."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def _tokens() -> Iterator[tuple[str, Any]]:
    for page in PAGES:
        for token in MarkdownIt().enable("table").parse((ROOT / page).read_text(encoding="utf-8")):
            yield page, token


def _split(block: str) -> Iterator[str]:
    """The commands of a block, without comments; one may go on behind a backslash, within quotes, or after &&."""
    pending = ""
    for line in block.splitlines():
        pending += re.sub(r"\s+# .*", "", line) + " "
        if pending.endswith("\\ "):
            pending = pending[:-2]
            continue
        try:
            shlex.split(pending)
        except ValueError:  # a quote that is still open
            continue
        yield from (" ".join(part.split()) for part in pending.split("&&") if part.strip())
        pending = ""


def _once(found: Iterable[Said]) -> list[Said]:
    """Without repetitions of a text: the first page keeps it."""
    kept: dict[str, Said] = {}
    for said in found:
        kept.setdefault(said.text, said)
    return [*kept.values()]
