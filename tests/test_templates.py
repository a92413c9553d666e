"""Templates are filled from a row; patterns read names and lines."""

import pytest

from mse.templates import Pattern, Template

ROW = {"video_id": "-3g5 好", "clip_id": "7", "Sr No.": "12", "a": "{b}"}


@pytest.mark.parametrize(
    ("text", "columns", "filled"),
    [
        ("Sr No.", ["Sr No."], "12"),
        ("Raw/{video_id}/{clip_id}.mp4", ["video_id", "clip_id"], "Raw/-3g5 好/7.mp4"),
        ("{clip_id:0>4}", ["clip_id"], "0007"),
        ("{video_id}$_${clip_id}", ["video_id", "clip_id"], "-3g5 好$_$7"),
        ("{{{clip_id}}}", ["clip_id"], "{7}"),
        ("{Sr No.}", ["Sr No."], "12"),
        ("{a}", ["a"], "{b}"),  # what a cell holds is never filled again
    ],
)
def test_template(text: str, columns: list[str], filled: str) -> None:
    assert Template(text).columns == columns
    assert Template(text).fill(ROW) == filled


@pytest.mark.parametrize("text", ["{a", "a}", "{a!r}", "{a:.2f}", "{}", "{a:{b}}"])
def test_what_is_no_template(text: str) -> None:
    with pytest.raises(ValueError):
        Template(text).columns  # noqa: B018


@pytest.mark.parametrize(
    ("pattern", "text", "read"),
    [
        ("a.csv", "a.csv", {}),
        ("a.csv", "aXcsv", None),
        ("{who}/{clip}.mp4", "Ärger/x y.mp4", {"who": "Ärger", "clip": "x y"}),
        ("{who}/{clip}.mp4", "a/b/c.mp4", None),  # a name is one part of a path
        ("{path,.+}.mp4", "a/b/c.mp4", {"path": "a/b/c"}),
        (r"{n,\d{2}}-{e,\d\d}.wav", "03-01.wav", {"n": "03", "e": "01"}),
        (r"{n,\d{2}}-{e,\d\d}.wav", "3-01.wav", None),
        ("{a}/{a}.mp4", "x/x.mp4", {"a": "x"}),
        ("{a}/{a}.mp4", "x/y.mp4", None),
        ("{{x}}{a}", "{x}1", {"a": "1"}),
        ("(x)[1]{a}", "(x)[1]b", {"a": "b"}),
    ],
)
def test_pattern(pattern: str, text: str, read: dict[str, str] | None) -> None:
    assert Pattern(pattern).read(text) == read


@pytest.mark.parametrize("text", ["{a", "a}", "{1a}", "{a,(}", "{a b}"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(ValueError):
        Pattern(text).names  # noqa: B018
