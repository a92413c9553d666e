"""What a file was made from."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mse.cli.options import RESULTS, app


@app.command(rich_help_panel=RESULTS)
def provenance(
    files: Annotated[list[Path], typer.Argument(help="Tables, figures, shards, datasets or folders of adapters.")],
    full: Annotated[
        bool, typer.Option("--full", help="Every file by itself, with digest, settings, versions.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs: all records.")] = False,
    sizes: Annotated[bool, typer.Option("--sizes", help="Compare sizes alone, where digests take too long.")] = False,
) -> None:
    """Tell what files were made from, back to media and models; status 1 where one is not as recorded."""
    from rich.console import Console

    from mse.chain import as_json, starts, trace
    from mse.chain_tree import print_chain

    begin = [start for file in files for start in starts(file)]
    chain = trace(begin, sizes)
    if json:
        print(as_json(chain))
    else:
        print_chain(chain, begin, Console(width=None if sys.stdout.isatty() else 120), full)
    if any(link.faults for link in chain.values()):
        raise typer.Exit(1)
