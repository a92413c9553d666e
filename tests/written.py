"""A table as people write them, and the folder it describes."""

from pathlib import Path

HEADER = "id,file,text,label,split\r\n"
TEXTS = ["hello", "so it is", "no"]
ROWS = "".join(
    f"c{n},{n}.ogg,{text},{n - 1},{split}\r\n"
    for n, (text, split) in enumerate(zip(TEXTS, ("train", "valid", "test"), strict=True))
)
COLUMNS = {"clip_id": "id", "media": "file", "text": "text", "label": "label"}
HEARD = {"modalities": ["acoustic", "text"]}  # which nobody can tell of empty files
MEDIA = ("0.ogg", "1.ogg", "2.ogg")


def make_folder(tmp_path: Path) -> Path:
    """Make a corpus's folder with three media files, which are never opened."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in MEDIA:
        (folder / name).touch()
    return folder
