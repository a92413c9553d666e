"""Figures and the page of metrics: what they say is what the tables say, in any script, the same bytes twice."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from mse.config import Classes, Intensity
from mse.errors import UserError
from mse.plots.answers import _coverage_of_quantiles, _reliability, calibration, predictions
from mse.plots.corpus import labels, quality
from mse.plots.runs import comparison
from mse.plots.style import label_edges
from mse.plots.timeline import timeline
from mse.plots.wrapping import width, wrapped
from mse.table_page import write_table_page
from mse.told import named_apart
from tests.test_browse import make_result

CHINESE = Classes(classes={"平静": ["平静"], "愤怒": ["愤怒"]})


def letters(figure: Path) -> str:
    """What is written in an SVG figure, as letters or as comments beside their shapes."""
    drawn = figure.read_text()
    return " ".join(re.findall(r"<!-- (.*?) -->", drawn) + re.findall(r">([^<>]+)</text>", drawn))


@pytest.mark.parametrize("task", [None, CHINESE])
def test_figures_of_a_result(tmp_path: Path, task: Classes | None) -> None:
    result = make_result(tmp_path, task)
    data, tables = tmp_path / "work/made/dataset.h5", sorted(result.glob("seed-*/predictions.csv"))
    draws: dict[str, Callable[[Path], None]] = {
        "labels": lambda out: labels(data, out),
        "calibration": lambda out: calibration(tables, data, out),
        "predictions": lambda out: predictions(tables, data, out),
    }
    for name, draw in draws.items():
        for out in ("a", "b"):
            draw(tmp_path / out / f"{name}.svg")
        assert (tmp_path / f"a/{name}.svg").read_bytes() == (tmp_path / f"b/{name}.svg").read_bytes()
        assert not plt.get_fignums()
    assert "train: 8 clips" in letters(tmp_path / "a/labels.svg")
    if task:
        assert "平静" in letters(tmp_path / "a/labels.svg") and "愤怒 (" in letters(tmp_path / "a/predictions.svg")
        assert "expected calibration error" in letters(tmp_path / "a/calibration.svg")
    else:
        assert "share of labels below it" in letters(tmp_path / "a/calibration.svg")


@pytest.mark.parametrize(
    ("task", "step", "bins"),
    [
        (Intensity(), 1, 31),
        (Intensity(), 2, 31),  # CMU-MOSI's
        (Intensity(low=-1, high=1), 1, 21),
        (Intensity(low=-1, high=1, decimals=2), 1, 21),
        (Intensity(low=0, high=100, decimals=0), 1, 21),
    ],
)
def test_even_labels_fill_bins_evenly(task: Intensity, step: int, bins: int) -> None:
    scale = 10**task.decimals
    legal = np.arange(round(task.low * scale), round(task.high * scale) + 1, step) / scale
    counts, _ = np.histogram(legal.astype(np.float32), label_edges(task))
    assert len(counts) == bins and counts.sum() == len(legal)
    assert len(set(counts[:-1])) == 1 and counts[-1] <= counts[0]


def test_calibrated_quantiles_lie_on_the_diagonal_and_narrow_ones_do_not() -> None:
    """Labels drawn from what was told are below its quantiles as often as these say."""
    rng = np.random.default_rng(0)
    legal = np.arange(-30, 31) / 10
    legal = rng.permutation(legal)  # in whatever order
    centres = rng.uniform(-1.5, 1.5, 3000)

    def told(width: float) -> np.ndarray:
        shares = np.exp(-(((legal - centres[:, None]) / width) ** 2) / 2)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    truth = np.array([rng.choice(legal, p=row) for row in told(0.5)])
    levels, so = _coverage_of_quantiles(legal, told(0.5), truth)
    assert np.abs(so - levels).max() < 0.05
    levels, so = _coverage_of_quantiles(legal, told(0.1), truth)
    assert so[5] > 0.3 and so[95] < 0.7  # surer than it may be


def test_reliability_counts_right_answers_by_confidence() -> None:
    said, so, clips = _reliability(np.array([0.55, 0.55, 0.95, 1.0]), np.array([1.0, 0.0, 1.0, 1.0]))
    assert said.tolist() == pytest.approx([0.55, 0.975]) and so.tolist() == [0.5, 1.0] and clips.tolist() == [2, 2]


def test_calibration_needs_probabilities(tmp_path: Path) -> None:
    result = make_result(tmp_path)
    table = pd.read_csv(result / "seed-1/predictions.csv")
    table.drop(columns=[name for name in table if name.startswith("p_")]).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(UserError, match=r"p\.csv: no probabilities"):
        calibration([tmp_path / "p.csv"], tmp_path / "work/made/dataset.h5", tmp_path / "c.svg")


def test_quality_draws_what_was_measured(tmp_path: Path) -> None:
    make_result(tmp_path)
    table = pd.read_csv(tmp_path / "work/made/quality.csv")
    table.to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(UserError, match="nothing was measured"):
        quality(tmp_path / "none.csv", tmp_path / "q.svg")
    share = np.linspace(0, 1, len(table))
    table.assign(acoustic_coverage=share, snr_db=40 * share, speech_rate=np.nan).to_csv(tmp_path / "q.csv", index=False)
    quality(tmp_path / "q.csv", tmp_path / "q.svg")
    told = letters(tmp_path / "q.svg")
    assert f"acoustic: 1 of {len(table)} complete" in told and "signal to noise (dB)" in told and "median 20" in told
    assert "speech rate" not in told and "facial" not in told


def spoken(recordings: int = 1) -> pd.DataFrame:
    """What a Predictor gives for recordings of two utterances, one of which can't be used."""
    rows = [
        {"recording": f"{number}/$talk$.mp4", "start_s": start_s, "end_s": start_s + 2, "text": text}
        for number in range(recordings)
        for start_s, text in ((0.0, "我很 <b>glad</b>"), (2.5, "What is it that costs $5, or $6, of all things?"))
    ]
    return pd.DataFrame(rows).assign(use="full", message="")


def test_timeline_of_intensities_and_classes(tmp_path: Path) -> None:
    table = spoken(2).assign(prediction=[0.5, None, -1.2, 2.0], low=-1.5, high=2.5)
    timeline(table, Intensity(), tmp_path / "t.svg")
    told = letters(tmp_path / "t.svg")
    assert (
        "我很" in told
        and "0/$talk$.mp4" in told
        and "1/$talk$.mp4" in told
        and "$5, or $6" in told
        and told.count("sentiment") == 2
    )
    assert "guesses" not in told
    timeline(table.assign(face_unlike=[0.3, 0.3, 0.3, 0.0]), Intensity(), tmp_path / "u.svg")
    told = letters(tmp_path / "u.svg")
    assert "? 1 of 1 answers may be guesses" in told and "? 1 of 2 answers may be guesses" in told
    table = spoken().assign(prediction=["平静", None], **{"p_平静": [0.8, np.nan], "p_愤怒": [0.2, np.nan]})
    timeline(table, CHINESE, tmp_path / "c.svg")
    assert "愤怒" in letters(tmp_path / "c.svg")
    timeline(spoken().assign(prediction=None, end_s=np.nan, low=np.nan, high=np.nan), Intensity(), tmp_path / "n.png")
    for wrong, message in (
        (spoken(51), "of 51 recordings; 50 is the most"),
        (pd.DataFrame({"text": ["a"]}), "of texts; they have no time axis"),
    ):
        with pytest.raises(UserError, match=message):
            timeline(wrong, Intensity(), tmp_path / "x.svg")
    with pytest.raises(UserError, match=r"a figure's name ends in \.svg"):
        timeline(spoken(), Intensity(), tmp_path / "x.doc")


def test_words_wrap_in_any_script() -> None:
    chinese = "我很高兴今天能在这里见到大家、因为天气很好、我们去公园吧。"
    assert wrapped(chinese, 12, 9) == ["我很高兴今天", "能在这里见到", "大家、因为天", "气很好、我们", "去公园吧。"]
    assert wrapped(chinese, 12, 2) == ["我很高兴今天", "能在这里见…"]
    assert wrapped("天气很好吧、我们", 10, 9) == ["天气很好", "吧、我们"]  # no line begins with a comma
    assert wrapped("so Zoë said: 今天天气很好 (really)", 10, 9) == ["so Zoë", "said: 今天", "天气很好", "(really)"]
    assert wrapped("an incomprehensible word", 10, 9) == ["an", "incompreh…", "word"]
    assert wrapped("an incomprehensible word", 10, 2) == ["an", "incompreh…"]
    assert wrapped("", 10, 4) == [""] and width("\uff46好a") == 5


def test_recordings_of_one_name_are_told_apart() -> None:
    alike = {"x/a/talk.mp4": "x/a/talk.mp4", "y/a/talk.mp4": "y/a/talk.mp4", "talk.mp4": "talk.mp4", "x/b.mp4": "b.mp4"}
    assert named_apart(["/x/talk.mp4"]) == {"/x/talk.mp4": "talk.mp4"} and named_apart(alike) == alike


def test_page_of_metrics(tmp_path: Path) -> None:
    """Bold: the best of a column; a mark: more than chance; names are text whatever they hold."""
    pd.DataFrame(
        {"corpus": ["a<b>"], "model": ["m"], "decoding": ["expected"], "run": ["mean"], "n": [60], "mae": [0.5]}
    ).to_csv(tmp_path / "metrics.csv", index=False)
    ours = "<i>ours</i>"
    rows = [
        (ours, "expected", True, "mae", 0.5, 0.4, 0.6, np.nan),
        ("linear", "", False, "mae", 0.7, 0.6, 0.8, 0.01),
        (ours, "expected", True, "acc7", 0.4, 0.3, 0.5, np.nan),
        ("linear", "", False, "acc7", 0.5, 0.4, 0.6, 0.3),
        ("constant", "", False, "corr", np.nan, np.nan, np.nan, np.nan),
    ]
    names = ["model", "decoding", "reference", "metric", "value", "low", "high", "p"]
    pd.DataFrame(rows, columns=names).assign(difference=0.0).to_csv(tmp_path / "intervals.csv", index=False)
    write_table_page(tmp_path / "metrics.csv", tmp_path / "intervals.csv", tmp_path / "table.html")
    page = (tmp_path / "table.html").read_text()
    assert "<h1>a&lt;b&gt;</h1>" in page and "&lt;i&gt;ours&lt;/i&gt;" in page and "<i>" not in page
    assert "<td class=best>0.500<small>0.400 to 0.600</small></td>" in page
    assert "<td>0.700<sup>*</sup>" in page and "<td class=best>50.0<small>40.0 to 60.0</small></td>" in page
    assert "60 test clips" in page and page.count("<tr") == 4 and page.count("<tr class=reference>") == 1


def test_reference_is_known_as_spreadsheets_write_it(tmp_path: Path) -> None:
    line = {"model": "m", "decoding": "", "metric": "mae", "value": 0.5, "low": 0.4, "high": 0.6}
    table = pd.DataFrame([line, line | {"model": "n"}]).assign(difference=0.0, p=0.5)
    figures = []
    for said in (["True", "False"], ["TRUE", "FALSE"], ["true", ""]):
        table.assign(reference=said).to_csv(tmp_path / "intervals.csv", index=False)
        comparison(tmp_path / "intervals.csv", tmp_path / "c.svg")
        figures.append((tmp_path / "c.svg").read_bytes())
    assert len(set(figures)) == 1
    table.to_csv(tmp_path / "intervals.csv", index=False)
    with pytest.raises(UserError, match="column 'reference' is missing"):
        comparison(tmp_path / "intervals.csv", tmp_path / "c.svg")
