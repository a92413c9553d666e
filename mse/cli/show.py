"""One clip with all that was made of it."""

from pathlib import Path
from typing import Annotated

import typer

from mse.cli.options import FEATURES, app
from mse.provenance import made


@app.command(rich_help_panel=FEATURES)
def show(
    clip: Annotated[str, typer.Argument(help="clip_id of the manifest.")],
    corpus: Annotated[str, typer.Option(help="The corpus's name.")],
    work: Annotated[Path, typer.Option(help="Folder of what the workflow makes on the way.")] = Path("work"),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Figure to write (.svg, .png or .pdf); CLIP.svg without it.")
    ] = None,
    model: Annotated[Path, typer.Option(help="face_landmarker.task.")] = Path(
        "resources/models/face_landmarker/face_landmarker.task"
    ),
) -> None:
    """Draw a clip on one time axis: pictures with landmarks, sound, words, descriptors and blendshapes."""
    from mse.clip_view import clip_files
    from mse.show import show as draw

    target = out or Path(f"{clip.replace('/', '_')}.svg")
    files, recording = clip_files(clip, work / corpus)
    with made("show", [target], inputs=files, sources=[recording], models=[model], settings={"clip": clip}):
        draw(clip, corpus, work, target, model)
    print(target)
