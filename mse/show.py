"""One clip on one time axis, to look before one trusts: pictures with landmarks, sound, words, what was measured."""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mse import media
from mse.clip_view import ClipView, Frames, read_clip
from mse.features.faces import Face, blendshape_names
from mse.plots.style import BLUE, GREY, ORANGE, drawing, require_figure, save

DPI = 200
LEFT_IN, RIGHT_IN = 2.1, 1.6  # margins, for names and for ranges
NARROWEST_IN, WIDEST_IN, IN_A_SECOND = 11.0, 15.0, 0.25  # width of the time axis
HEADER_IN, GAP_IN, CLOCK_IN = 0.22, 0.12, 0.45  # a row's header, below a row, and the labels of the time axis
LANE_IN, WORD_IN, SHAPE_IN, LINE_IN = 0.42, 0.19, 0.135, 0.18
TALLEST_IN = 2.6  # a picture
SMALL, SMALLER = 8, 7  # font sizes in points
PARTS = ("loudness", "f0", "jitter")  # of the names of descriptors to draw
UNITS = {"f0semi": "semitones over 27.5 Hz", "f0": "Hz", "jitter": "of the period", "loudness": "(openSMILE's scale)"}
UNITS |= {"_deg": "degrees", "mouth_opening": "eye distances"}
VOICED = ("f0", "jitter")  # openSMILE gives them as 0 where there is no voice
SHAPES = 18  # blendshapes to draw
LONGEST_NAME, LONGEST_MESSAGE = 30, 300  # characters; quality.csv has whole messages
TOLD = ("use", "message")  # of quality.csv
LINES = ("mouth_opening", "head_yaw_deg", "head_pitch_deg")
NO_FACE = "#BBBBBB"


def show(clip_id: str, corpus: str, work: Path, out: Path, model: Path) -> None:
    """Draw a clip with all that the workflow has made of it.

    Args:
        clip_id: of work/CORPUS/manifest.csv.
        corpus: the corpus's name.
        work: folder of all corpora's intermediate files.
        out: the figure: .svg, .png or .pdf.
        model: face_landmarker.task; landmarks are not stored, so faces are looked for again.

    Raises:
        UserError: there is no such clip, its recording can't be shown, or what was made is damaged.
    """
    require_figure(out)
    draw(read_clip(clip_id, corpus, work / corpus, model), out)


@dataclass(frozen=True)
class Row:
    """One row of the figure: a header, and what draws on the axes below it, which have this height."""

    header: str
    height_in: float
    draw: Callable[[Axes], None]
    timed: bool = True


def draw(clip: ClipView, out: Path) -> None:
    """Draw a clip.

    Args:
        clip: what to draw; rows for which it has nothing are left out.
        out: the figure: .svg, .png or .pdf.
    """
    title, facts = _head(clip)
    text = "".join([title, facts, clip.row["text"], clip.heard, *(word["text"] for word in clip.words)])
    style = {"font.size": SMALL, "svg.fonttype": "none", "figure.constrained_layout.use": False}
    axis_in = _axis_in(clip.duration_s)
    width_in = LEFT_IN + axis_in + RIGHT_IN
    with drawing(text, style):
        figure = plt.figure(figsize=(width_in, 1), dpi=DPI)
        lines = [(line, 12) for line in _wrapped(figure, title, axis_in, 12)]
        lines += [(line, SMALL) for line in _wrapped(figure, facts, axis_in, SMALL)]
        rows = _rows(clip, figure, axis_in)
        clock = max((index for index, row in enumerate(rows) if row.timed), default=-1)  # it has the labels of time
        heights_in = [HEADER_IN + row.height_in + (CLOCK_IN if i == clock else GAP_IN) for i, row in enumerate(rows)]
        y_in = height_in = 2 * GAP_IN + sum(size / 72 * 1.6 for _, size in lines) + sum(heights_in)
        figure.set_size_inches(width_in, height_in)
        for line, size in lines:
            y_in -= size / 72 * 1.6
            figure.text(LEFT_IN / width_in, y_in / height_in, line, fontsize=size)
        y_in -= GAP_IN
        for index, (row, taken_in) in enumerate(zip(rows, heights_in, strict=True)):
            bottom_in = y_in - HEADER_IN - row.height_in
            figure.text(LEFT_IN / width_in, (y_in - HEADER_IN + 0.04) / height_in, row.header, color=GREY)
            place = (LEFT_IN / width_in, bottom_in / height_in, axis_in / width_in, row.height_in / height_in)
            axis = figure.add_axes(place, xlim=(0, clip.duration_s))
            row.draw(axis)
            axis.set_xlim(0, clip.duration_s)
            axis.tick_params(axis="x", bottom=row.timed, labelbottom=index == clock)
            if index == clock:
                axis.set_xlabel("seconds from the clip's start")
            y_in -= taken_in
        save(figure, out, DPI)


def _axis_in(length_s: float) -> float:
    return min(max(NARROWEST_IN, length_s * IN_A_SECOND), WIDEST_IN)


def _head(clip: ClipView) -> tuple[str, str]:
    """What the clip is, and how good it is."""
    row, quality = clip.row, clip.quality
    title = [row["clip_id"], clip.corpus, row["split"], row["label"] and f"label {row['label']}"]
    measured = [
        (name, quality[column], form)
        for name, column, form in (
            ("loudness", "loudness_dbfs", "{:.1f} dBFS"),
            ("signal to noise", "snr_db", "{:.0f} dB"),
            ("face in", "facial_coverage", "{:.0%} of the pictures"),
            ("speaking", "speaking", "{:.2f}"),
        )
        if column in quality and pd.notna(quality[column])
    ]
    facts = [f"{name} {form.format(value)}" for name, value, form in measured]
    said = {name: textwrap.shorten(quality.get(name) or "", LONGEST_MESSAGE, placeholder=" ...") for name in TOLD}
    facts += [f"{name}: {text}" for name, text in said.items() if text]
    return ", ".join([*filter(None, title), f"{clip.duration_s:.2f} s"]), ", ".join(facts)


def _width_in(figure: Figure, text: str, size: float) -> float:
    drawn = figure.text(0, 0, text, fontsize=size)
    width_px = drawn.get_window_extent().width
    drawn.remove()
    return width_px / figure.dpi


def _wrapped(figure: Figure, text: str, room_in: float, size: float) -> list[str]:
    """Lines of a text that fit, by the mean width of its characters."""
    text = " ".join(text.split())
    if not text:
        return []
    return textwrap.wrap(text, max(1, int(0.93 * len(text) * room_in / _width_in(figure, text, size))))


def _rows(clip: ClipView, figure: Figure, axis_in: float) -> list[Row]:
    rows = []
    if clip.looks:
        rows.append(_pictures(clip, axis_in))
    if len(clip.samples):
        rows.append(Row("sound (1: full scale)", 0.7, lambda axis: _waveform(axis, clip.samples, round(axis_in * DPI))))
    if clip.words:
        rows.append(_words(clip, figure, axis_in))
    for header, text in (("text recognised", clip.heard), ("the corpus's text", clip.row["text"])):
        if lines := _wrapped(figure, text, axis_in, SMALL + 1):
            rows.append(Row(header, LINE_IN * len(lines), partial(_text, lines=lines), timed=False))
    for name, frames in clip.acoustic.items():
        if len(frames.values):
            chosen = _descriptors(frames)
            rows.append(_lines(f"descriptors: {name} ({frames.made_by})", frames, chosen, VOICED))
    if clip.facial and len(clip.facial.values):
        known = [name for name in LINES if name in clip.facial.names]
        rows += [_heat_map(clip.facial), _lines("face: mouth and head", clip.facial, known, ())]
    return rows


def _pictures(clip: ClipView, axis_in: float) -> Row:
    """Pictures side by side, each at its time; if they change size, all are fitted into the first one's."""
    high, wide = clip.looks[0].picture.shape[:2]
    start_s, end_s = clip.looks[0].slot_s
    height_in = min(0.97 * axis_in * (end_s - start_s) / clip.duration_s * high / wide, TALLEST_IN)
    second_px = clip.duration_s / axis_in * height_in / high  # seconds that a pixel is wide

    def draw(axis: Axes) -> None:
        for look in clip.looks:
            height, width = look.picture.shape[:2]
            scale = min(high / height, wide / width)
            left_s = sum(look.slot_s) / 2 - width * scale / 2 * second_px
            right_s = left_s + width * scale * second_px
            axis.imshow(look.picture, extent=(left_s, right_s, height * scale, 0), aspect="auto")
            for face, speaking, described in look.faces:
                _face(
                    axis,
                    face,
                    speaking,
                    ORANGE if described else BLUE,
                    left_s,
                    second_px,
                    scale,
                    face.size_px * scale / high * height_in,
                )
            axis.text(left_s, high, f" {look.time_s:.1f} s", color="white", va="bottom", bbox=_patch("black"))
        axis.set(ylim=(high, 0), yticks=[])
        axis.spines[:].set_visible(False)

    header = "pictures: the described face orange, others blue, with the confidence that it is the one who speaks"
    return Row(header, height_in, draw)


def _patch(colour: str) -> dict[str, Any]:
    return {"facecolor": colour, "alpha": 0.6, "pad": 0.8, "linewidth": 0}


def _face(
    axis: Axes, face: Face, speaking: float, colour: str, left_s: float, second_px: float, scale: float, size_in: float
) -> None:
    """Draw a face's contours and box over its picture.

    Args:
        axis: seconds by pixels.
        face: in the picture's pixels.
        speaking: confidence to write beside it; none if NaN.
        colour: of all lines.
        left_s: the picture's left edge.
        second_px: seconds that a pixel of the axis is wide.
        scale: pixels of the axis for one of the picture.
        size_in: of the face, in inches of the paper.
    """
    from mediapipe.tasks.python.vision import FaceLandmarksConnections

    pairs = [(line.start, line.end) for line in FaceLandmarksConnections.FACE_LANDMARKS_CONTOURS]
    ends = scale * face.points[np.array(pairs), :2]  # (lines, 2, 2)
    path = np.concatenate([ends, np.full_like(ends[:, :1], np.nan)], axis=1).reshape(-1, 2)  # NaN lifts the pen
    axis.plot(left_s + path[:, 0] * second_px, path[:, 1], color=colour, linewidth=min(0.7, size_in))
    left, top, right, bottom = (scale * edge for edge in face.box)
    corner, width_s = (left_s + left * second_px, top), (right - left) * second_px
    axis.add_patch(Rectangle(corner, width_s, bottom - top, fill=False, edgecolor=colour, linewidth=0.8))
    if math.isfinite(speaking):
        axis.text(*corner, f"{speaking:.2f}", color="white", fontsize=SMALLER, va="bottom", bbox=_patch(colour))


def _waveform(axis: Axes, samples: npt.NDArray[np.int16], columns: int) -> None:
    """Least and greatest sample of each column of pixels."""
    edges = np.linspace(0, len(samples), min(columns, len(samples)), endpoint=False).astype(int)
    low, high = (extreme.reduceat(samples, edges) / 32768 for extreme in (np.minimum, np.maximum))
    axis.fill_between(edges / media.SAMPLE_RATE_HZ, low, high, color=BLUE, linewidth=0.3)
    peak = max(float(np.abs([low, high]).max()), 1e-4)
    axis.set(ylim=(-peak, peak), yticks=[-peak, 0, peak], yticklabels=[f"{-peak:.2g}", "0", f"{peak:.2g}"])
    axis.grid(axis="x", alpha=0.3)


def _text(axis: Axes, lines: Sequence[str]) -> None:
    axis.set_axis_off()
    axis.text(0, 1, "\n".join(lines), fontsize=SMALL + 1, va="top", transform=axis.transAxes)


def _words(clip: ClipView, figure: Figure, axis_in: float) -> Row:
    """Words at their times, each in the first lane that has room."""
    second_in = axis_in / clip.duration_s
    ends_in: list[float] = []  # of each lane's last word
    lanes = []
    for word in clip.words:
        start_in = word["start_s"] * second_in
        end_in = max(start_in + _width_in(figure, word["text"], SMALL) + 0.06, word["end_s"] * second_in)
        lane = next((lane for lane, end in enumerate(ends_in) if end <= start_in), len(ends_in))
        ends_in[lane : lane + 1] = [end_in]
        lanes.append(lane)

    def draw(axis: Axes) -> None:
        for word, lane in zip(clip.words, lanes, strict=True):
            length_s = max(word["end_s"] - word["start_s"], 0.02 / second_in)  # some take no time
            shade = {"facecolor": BLUE, "alpha": 0.08 + 0.42 * word["probability"], "linewidth": 0}
            axis.add_patch(Rectangle((word["start_s"], lane + 0.08), length_s, 0.84, **shade))
            axis.text(word["start_s"] + 0.02 / second_in, lane + 0.5, word["text"], va="center_baseline")
        axis.set(ylim=(len(ends_in), 0), yticks=[])
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", alpha=0.3)

    return Row("words recognised (the darker, the more probable)", WORD_IN * len(ends_in), draw)


def _descriptors(frames: Frames) -> list[str]:
    """Names of loudness, pitch and jitter, or of the three that vary most where a set has none of them."""
    found = [next((name for name in frames.names if part in name.lower()), None) for part in PARTS]
    return [name for name in found if name] or _varying(frames, frames.names, 3)


def _varying(frames: Frames, names: Sequence[str], count: int) -> list[str]:
    """Those with the largest variance, in the order in which the set has them."""
    spread = [float(np.var(of[np.isfinite(of)])) if np.isfinite(of := frames.of(n)).any() else 0.0 for n in names]
    most = sorted(np.argsort(-np.array(spread), kind="stable")[:count])
    return [names[index] for index in most]


def _lines(header: str, frames: Frames, names: Sequence[str], voiced: Sequence[str]) -> Row:
    """One thin line a feature, each from its least to its greatest value, which stand at the right."""

    def draw(axis: Axes) -> None:
        for lane, name in enumerate(names):
            values = frames.of(name).astype(float)
            if any(part in name.lower() for part in voiced):
                values[values == 0] = np.nan
            known = values[np.isfinite(values)]
            low, high = (known.min(), known.max()) if len(known) else (np.nan, np.nan)
            level = (values - low) / (high - low) if high > low else values * 0 + 0.5
            axis.plot(frames.times_s, lane + 0.9 - 0.8 * level, color=BLUE, linewidth=0.9, marker=".", markersize=1.5)
            unit = next((unit for part, unit in UNITS.items() if part in name.lower()), "")
            said = f"{low:.3g} to {high:.3g}\n{unit}" if len(known) else "not measured"
            axis.text(1.008, lane + 0.5, said, va="center", fontsize=SMALLER, transform=axis.get_yaxis_transform())
        labels = ["\n".join(textwrap.wrap(name, LONGEST_NAME)) for name in names]
        axis.set(ylim=(len(names), 0), yticks=np.arange(len(names)) + 0.5, yticklabels=labels)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.3)

    rate = f"{frames.rate_hz:g} frames a second" if frames.rate_hz >= 1 else "one frame"
    return Row(f"{header}, {rate}, each from its least to its greatest", LANE_IN * len(names), draw)


def _heat_map(frames: Frames) -> Row:
    shapes = [name for name in blendshape_names() if name in frames.names]
    names = _varying(frames, shapes, SHAPES)

    def draw(axis: Axes) -> None:
        values = np.stack([frames.of(name) for name in names])  # (shapes, T)
        first, last = frames.times_s[0] - 0.5 / frames.rate_hz, frames.times_s[-1] + 0.5 / frames.rate_hz
        seen = np.isfinite(values)
        image = axis.imshow(
            values,
            cmap=colormaps["viridis"].with_extremes(bad=NO_FACE),
            vmin=0,
            vmax=values[seen].max() if seen.any() else 1,
            extent=(first, last, len(names), 0),
            aspect="auto",
            interpolation="nearest",
        )
        axis.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=SMALLER)
        axis.tick_params(axis="y", length=0)
        bar = axis.figure.colorbar(image, cax=axis.inset_axes((1.01, 0, 0.012, 1)))
        bar.outline.set_visible(False)
        bar.set_label("score", fontsize=SMALLER)

    header = f"face: the {len(names)} blendshapes that vary most, {frames.rate_hz:g} pictures a second, grey: no face"
    return Row(header, SHAPE_IN * len(names), draw)
