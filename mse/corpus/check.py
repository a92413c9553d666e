"""What a careful person wants to see of a corpus before a night of computing: `mse corpus check`."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mse import media
from mse.config import AssembleSettings, Classes, Dataset, Intensity, SegmentSettings
from mse.corpus.build import Corpus, read_corpus, require_root
from mse.corpus.manifest import SPLITS
from mse.errors import UserError, describe_error
from mse.progress import track
from mse.segment import ROUNDING_S

EXAMPLES = 5  # of each finding
BAR_WIDTH = 30


@dataclass
class Findings:
    """What was found: `problems` keep a run from starting, `warnings` want a look."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def warn(self, what: str, examples: "pd.Series[str] | list[str]") -> None:
        """Note a warning with its first examples, if there are any."""
        if len(examples):
            more = f", ... ({len(examples) - EXAMPLES} more)" if len(examples) > EXAMPLES else ""
            self.warnings.append(f"{len(examples)} {what}: {', '.join(list(examples)[:EXAMPLES])}{more}")


def check(
    name: str, dataset: Dataset, segment: SegmentSettings, assemble: AssembleSettings, console: Console
) -> Findings:
    """Read everything of a corpus without extracting anything, and print what it holds.

    Args:
        name: the corpus's name.
        dataset: its description.
        segment: what is too short or too long.
        assemble: how many clips may be unusable.
        console: where to print.

    Raises:
        UserError: the corpus is not there, or its tables hold mistakes.
    """
    require_root(name, dataset)
    console.print(f"{name} in {dataset.root}", highlight=False, markup=False)
    if dataset.released:
        from mse.released import released_clips

        corpus = Corpus(released_clips(name, dataset), pd.DataFrame(columns=["clip_id", "reason"]), [])
    else:
        corpus = read_corpus(dataset)
    clips = corpus.clips.assign(seconds=np.nan)
    findings = Findings(warnings=list(corpus.notes))
    if dataset.needs_media:
        clips = _measure(clips, findings, dataset, segment)
    else:
        clips["usable"] = True
    _print_splits(clips, corpus, dataset, console)
    _print_labels(clips, dataset, console)
    _look_at_texts_and_speakers(clips, dataset, findings)
    _judge(clips, dataset, assemble, findings)
    _print_findings(findings, console)
    return findings


def _measure(clips: pd.DataFrame, findings: Findings, dataset: Dataset, segment: SegmentSettings) -> pd.DataFrame:
    """Probe every recording; returns the clips with `seconds` and `usable`."""
    paths = clips["media"].unique()

    def probe(path: str) -> media.MediaInfo | str:
        try:
            return media.probe(Path(path))
        except UserError as e:
            return str(e)
        except Exception as e:  # whatever a library stumbles over, the other recordings are not to blame
            return f"{path}: {describe_error(e)}"

    with ThreadPoolExecutor(8) as pool:
        probed = dict(zip(paths, track(pool.map(probe, paths), "probing", len(paths), "files"), strict=True))
    info = clips["media"].map(probed)
    readable = info.map(lambda found: isinstance(found, media.MediaInfo))
    findings.warn("recordings are missing or unreadable", sorted(set(info[~readable])))
    length = info.map(lambda found: getattr(found, "duration_s", np.nan)).astype(float)
    start = clips["start_s"].fillna(0.0)
    end = clips["end_s"].fillna(np.inf)
    clips = clips.assign(seconds=np.maximum(np.minimum(end, length) - start, 0.0))
    long_enough = clips["seconds"] >= segment.min_s - ROUNDING_S
    clips["usable"] = readable & long_enough
    late = readable & (start >= length)
    beyond = readable & ~late & (clips["end_s"] > length + media.END_TOLERANCE_S)
    short = readable & ~late & ~long_enough
    findings.warn("clips start after their recording's end", clips["clip_id"][late])
    findings.warn("clips end after their recording's end; what is there will be used", clips["clip_id"][beyond])
    findings.warn(f"clips are shorter than segment.min_s = {segment.min_s:g} s", clips["clip_id"][short])
    if not dataset.cut:
        long = clips["clip_id"][clips["seconds"] > segment.max_s + ROUNDING_S]
        findings.warn(f"clips are longer than segment.max_s = {segment.max_s:g} s, and will be cut there", long)
    several = info.map(lambda found: getattr(found, "audio_tracks", 0) > 1)
    taken = f"track {segment.audio_track}" if segment.audio_track else "the one marked as default, else the first,"
    findings.warn(
        f"recordings have several audio tracks; {taken} is used (segment.audio_track chooses)",
        sorted(set(clips["media"][several])),
    )
    for modality, stream in (("acoustic", "has_audio"), ("facial", "has_video")):
        if modality in dataset.modalities:
            lacks = info.map(lambda found, stream=stream: getattr(found, stream, True) is False)
            findings.warn(f"recordings have no {stream.removeprefix('has_')}", sorted(set(clips["media"][lacks])))
    return clips


def _print_splits(clips: pd.DataFrame, corpus: Corpus, dataset: Dataset, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("split", "clips", "usable", "minutes", "median s", "recordings", "speakers"):
        table.add_column(column, justify="left" if column == "split" else "right")
    rows = [(split, clips[clips["split"] == split]) for split in SPLITS]
    for split, some in [*((s, c) for s, c in rows if len(c)), ("all", clips)]:
        told = [f"{some['seconds'].sum() / 60:.1f}", f"{some['seconds'].median():.1f}"]
        if not dataset.needs_media:
            told = ["", ""]
        recordings = some["media"].nunique() if dataset.needs_media else ""
        speakers = some["speaker"][some["speaker"] != ""].nunique()
        counts = [len(some), int(some["usable"].sum()), *told, recordings, speakers or ""]
        table.add_row(split, *map(str, counts))
    console.print(table)
    for row in corpus.excluded.itertuples():
        console.print(f"  excluded {row.clip_id}: {row.reason}", highlight=False, markup=False)


def _print_labels(clips: pd.DataFrame, dataset: Dataset, console: Console) -> None:
    """A histogram: classes by name, intensities in seven bins of equal width."""
    task = dataset.task
    if task is None:
        return
    if isinstance(task, Classes):
        names, of_clip = task.names, clips["label"]
    else:
        of_clip, names = _binned(clips["label"].astype(float), task)
    counts = pd.crosstab(of_clip, clips["split"]).reindex(index=names, columns=list(SPLITS), fill_value=0)
    table = Table(box=None, pad_edge=False)
    table.add_column("label")
    for split in SPLITS:
        table.add_column(split, justify="right")
    table.add_column("share")
    totals = counts.sum(axis=1)
    block = "#" if console.options.ascii_only else "█"
    for name, row in counts.iterrows():
        bar = block * round(BAR_WIDTH * totals[name] / totals.max())
        table.add_row(escape(str(name)), *map(str, row), f"{bar} {100 * totals[name] / totals.sum():.1f} %")
    console.print(table)


def _binned(labels: "pd.Series[float]", task: Intensity) -> tuple["pd.Series[str]", list[str]]:
    edges = np.linspace(task.low, task.high, 8)
    names = [f"{low:+.1f} to {high:+.1f}" for low, high in pairwise(edges)]
    place = np.clip(np.digitize(labels, edges) - 1, 0, 6)
    return pd.Series([names[i] for i in place], index=labels.index), names


def _look_at_texts_and_speakers(clips: pd.DataFrame, dataset: Dataset, findings: Findings) -> None:
    if "text" in dataset.modalities and dataset.text_from == "corpus":
        findings.warn("clips have no text", clips["clip_id"][clips["text"] == ""])
    for what, column in (("speakers", "speaker"), ("recordings", "media")):
        named = clips[clips[column] != ""]
        splits = named.groupby(column)["split"].nunique()
        shared = sorted(splits.index[splits > 1])
        findings.warn(f"{what} are in more than one split, so results will look better than they are", shared)


def _judge(clips: pd.DataFrame, dataset: Dataset, assemble: AssembleSettings, findings: Findings) -> None:
    """What keeps a run from starting, or from ending well."""
    bad = 1 - clips["usable"].mean()
    if bad > assemble.max_bad_fraction:
        findings.problems.append(
            f"{100 * bad:.1f} % of the clips can't be used, more than assemble.max_bad_fraction = "
            f"{assemble.max_bad_fraction:g} allows"
        )
    if dataset.task:
        usable = set(clips["split"][clips["usable"]])
        findings.problems += [f"no usable clip in the split {split!r}" for split in SPLITS if split not in usable]


def _print_findings(findings: Findings, console: Console) -> None:
    for style, what, lines in (("yellow", "warning", findings.warnings), ("red", "problem", findings.problems)):
        for line in lines:
            console.print(f"[{style}]{what}[/] ", end="")
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print("[red]a run can't start[/]" if findings.problems else "[green]a run can start[/]")
