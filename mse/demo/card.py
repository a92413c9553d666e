"""The demo corpus's own README: what it is, how it was made and what can be attained on it."""

import math
from pathlib import Path

import pandas as pd

from mse.atomic import replacing
from mse.demo.plan import attainable
from mse.demo.recipe import Recipe

_TEXT = """\
# Demo corpus

{clips} clips of an animated portrait that speaks short English sentences, {minutes:.1f} minutes in all, made from
seed {seed}. It exists to try the pipeline and to see whether a model uses what it is given: how well each modality
can do is known. It says nothing about people, and numbers on it compare with no other corpus.

| split | clips | speakers | sentences | mean label | labels at the limits |
|---|---|---|---|---|---|
{splits}

`clips.csv` has one row a clip. {whole} clips are files of their own (`videos/`); the other {cut} are cut by
`start_s` and `end_s` (seconds) out of {recordings} recordings (`recordings/`). {size_mb:.0f} MB in all.
Speakers and sentences of a split are in no other split.

## The label

    label = clip(round({scale} * (word + voice + face), 1), -3, 3)

Each component lies on the levels {levels}, equally often; within a split they are as good as uncorrelated.

- **word**: the sentiment of the sentence, seen in the text alone.
- **voice**: a step of 1 means {pitch:g} steps of espeak-ng's pitch (about 0.17 semitones each), a rate {rate:g}
  times as fast and {level_db:g} dB louder. The length of a clip is drawn apart from the rate.
- **face**: mouth corners and brows, from frown to smile. The jaw follows the loudness relative to the clip's own
  peak, so the picture does not tell how loud the voice is.

## What can be attained

Correlation with the label of the best linear predictor that knows these components exactly (multiple correlation
on the clips of this very corpus). No model does better on the test split except by chance or by a leak.

{attainable}

## Sources

- Portrait: `skimage.data.astronaut()`, a NASA photograph of Eileen Collins, in the public domain.
- Speech: espeak-ng (GPL-3.0-or-later), run through the espeakng-loader wheel; that licence does
  not extend to the speech it makes.
- Animation and sentences: made by `mse demo`, which this project's licence covers.
"""


def write_card(out: Path, recipe: Recipe, seed: int, clips: pd.DataFrame) -> None:
    """Write README.md.

    Args:
        out: the corpus's folder, with its videos.
        recipe: what was made.
        seed: what it was drawn from.
        clips: the corpus's table.
    """
    files = [path for path in out.rglob("*.mp4") if path.is_file()]
    whole = clips["start_s"].isna()
    text = _TEXT.format(
        clips=len(clips),
        minutes=len(clips) * sum(recipe.timing.clip_s) / 2 / 60,
        seed=seed,
        splits=_split_rows(clips),
        whole=int(whole.sum()),
        cut=int((~whole).sum()),
        recordings=clips.loc[~whole, "media"].nunique(),
        size_mb=sum(path.stat().st_size for path in files) / 1e6,
        scale=recipe.mixture.scale,
        levels=", ".join(f"{level:g}" for level in recipe.mixture.levels),
        pitch=recipe.voice.pitch,
        rate=recipe.voice.rate,
        level_db=recipe.voice.level_db,
        attainable=_attainable_table(clips),
    )
    with replacing(out / "README.md") as partial:
        partial.write_text(text, encoding="utf-8")


def _split_rows(clips: pd.DataFrame) -> str:
    return "\n".join(
        f"| {split} | {len(part)} | {part['speaker'].nunique()} | {part['text'].nunique()} "
        f"| {part['label'].mean():.2f} | {(part['label'].abs() == 3).sum()} |"
        for split, part in clips.groupby("split", sort=False)
    )


def _attainable_table(clips: pd.DataFrame) -> str:
    by_split = {str(split): attainable(part) for split, part in clips.groupby("split", sort=False)}
    lines = [f"| known | {' | '.join(by_split)} |", "|---" * (len(by_split) + 1) + "|"]
    for names in next(iter(by_split.values())):
        values = (by_split[split][names] for split in by_split)
        cells = " | ".join("-" if math.isnan(value) else f"{value:.3f}" for value in values)
        lines.append(f"| {' + '.join(names)} | {cells} |")
    return "\n".join(lines)
