"""The real workflow, from videos to the table, on a cut-down demo corpus: every tool is the real one."""

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from typer.testing import CliRunner

from mse import media
from mse.adapter import MSEAdapter
from mse.cli import app
from mse.corpus import SPLITS
from mse.data import ClipDataset
from tests.checkout import CLIPS, FEW, TABLE, copy_clone, own_models, planned, require_described, snakemake, succeed
from tests.chromium import opened, why_no_browser
from tests.originals import write_chatglm

ROWS = [("text-only", "mean"), ("text-only", "sd")]
ROWS += [("zero-shot", "single"), ("linear", "single"), ("constant", "single")]
RUNS = [f"seed-{seed}" for seed in FEW["seeds"]]
FIGURES = ["training", "predictions", "calibration", "comparison", "labels", "quality"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, finished_demo: Path) -> Path:
    """A clone with the demo's results, in a folder with a space in its name."""
    return copy_clone(finished_demo, tmp_path_factory.mktemp("a check out"))


def test_all_is_made_without_a_target(finished: Path) -> None:
    result = finished / TABLE
    figures = {figure.stem for figure in result.parent.glob("figures/*.svg") if figure.stat().st_size > 5000}
    assert figures == set(FIGURES)
    assert all((result.parent / page).stat().st_size > 2000 for page in ("metrics.html", "browse.html"))
    assert all((result.parent / run / "adapter/README.md").is_file() for run in RUNS)


def test_table_has_all_rows(finished: Path) -> None:
    metrics = pd.read_csv(finished / TABLE)
    runs = [("smollm2", run) for run in (*RUNS, "mean", "sd")]
    assert [*zip(metrics["model"], metrics["run"], strict=True)] == 3 * runs + ROWS
    assert list(metrics.columns) == [
        "model", "decoding", "run", "n", "n_unusable", "mae", "corr", "acc7", "acc5", "has0_acc2", "has0_f1",
        "non0_acc2", "non0_f1",        "unparseable", "unparseable_scored_as", "constant_is", "corpus",
    ]  # fmt: skip
    assert (metrics["n"] == CLIPS["test"]).all() and (metrics["n_unusable"] == 0).all()
    assert metrics["mae"].between(0, 6).all()
    constrained = metrics[metrics["decoding"].isin(["constrained", "expected"])]
    assert len(constrained) == 8 + 3 and (constrained["unparseable"] == 0).all()
    intervals = pd.read_csv(finished / TABLE.replace("metrics", "intervals"))
    assert len(intervals) == (3 + len(ROWS) - 1) * 8  # a line each metric of a model and decoding
    assert (intervals["low"] <= intervals["high"] + 1e-9)[intervals["low"].notna()].all()


@pytest.mark.slow
def test_report_has_everything_with_captions(finished: Path) -> None:
    """One file, looked at in a browser: results by corpus and LLM, each with its caption, and how long rules took."""
    succeed(snakemake(finished, "--report", "report.html"))
    if reason := why_no_browser():
        pytest.skip(reason)
    with opened(finished / "report.html") as browser:
        wait = WebDriverWait(browser, 30)

        def shown(text: str) -> bool:
            return text in browser.find_element(By.TAG_NAME, "body").text

        def follow(name: str) -> None:
            link = f"//*[self::a or self::button or self::span][normalize-space()='{name}']"
            wait.until(lambda _: browser.find_elements(By.XPATH, link))
            browser.find_elements(By.XPATH, link)[0].click()

        wait.until(lambda _: shown("MSE-Adapters"))
        follow("Results")
        follow("demo")
        wait.until(lambda _: shown("training curves"))
        told = browser.find_element(By.TAG_NAME, "body").text
        for what in (
            "calibration",
            "labels by split",
            "models beside each other",
            "table of metrics",
            "clips, to look at",
        ):
            assert what in told
        assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


def test_predictions_carry_all_decodings_and_probabilities(finished: Path) -> None:
    for folder in ("seed-1111", "variants/text-only/seed-2222", "baselines/zero-shot/single"):
        table = pd.read_csv(finished / "results/demo/smollm2" / folder / "predictions.csv")
        columns = ["clip_id", "prediction", "label", "generate", "constrained", "expected", "answer", "text"]
        assert list(table.columns)[: len(columns)] == columns
        shares = table[[name for name in table if name.startswith("p_")]]
        assert shares.shape == (CLIPS["test"], 61) and shares.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-4)
        levels = np.array([float(name.removeprefix("p_")) for name in shares])
        assert table["expected"].to_numpy() == pytest.approx(shares.to_numpy() @ levels, abs=1e-3)
        assert set(table["constrained"]) <= set(levels)


def test_ablations_are_variants_of_the_same_run(finished: Path) -> None:
    target = "results/demo/smollm2/ablations/metrics.csv"
    jobs = planned(snakemake(finished, "--config", "ablations=[without-tgm, without-picture]", "-n", "--", target))
    assert jobs == {"train": 4, "score_ablations": 1}


@pytest.mark.slow
def test_ablation_is_trained_and_scored_beside_the_whole(finished: Path) -> None:
    target = "results/demo/smollm2/ablations/metrics.csv"
    succeed(snakemake(finished, "--config", "ablations=[without-msf]", "--", target))
    metrics = pd.read_csv(finished / target)
    assert set(metrics["model"]) == {"smollm2", "without-msf", *(model for model, _ in ROWS)}
    adapter = MSEAdapter.from_pretrained(finished / "results/demo/smollm2/variants/without-msf/seed-1111/adapter")
    assert adapter.config.settings.scales == [] and adapter.fusion.integrate is None
    done = snakemake(finished, "--config", "ablations=[without-ears]", "-n", "--", target)
    assert "no without-ears.yaml in config/variants; there is after-text, " in done.stdout + done.stderr


def test_every_clip_was_seen_heard_and_read(finished: Path) -> None:
    quality = pd.read_csv(finished / "work/demo/quality.csv")
    require_described(quality)
    assert quality["facial_coverage"].min() > 0.9
    assert quality["word_error_rate"].mean() < 0.6


def test_adapter_folder_holds_the_adapter_alone(finished: Path) -> None:
    folder = finished / "results/demo/smollm2/seed-1111/adapter"
    adapter = MSEAdapter.from_pretrained(folder)
    assert (adapter.config.backbone, adapter.config.dataset) == ("smollm2", "demo")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_000_000


def test_table_is_traced_back_to_recordings_and_models(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    figures = [str(path) for path in Path("results/demo/smollm2/figures").glob("*.svg")]
    told = CliRunner().invoke(app, ["provenance", TABLE, *figures, "--full"])
    assert told.exit_code == 0, told.stdout[-3000:]
    assert " 3 models: all as recorded" in told.stdout
    recordings = list(Path("data/demo").glob("*/*.mp4"))
    assert len(recordings) > 5 and all(str(path) in told.stdout for path in recordings)


def test_changed_recording_remakes_only_what_depends_on_it(finished: Path) -> None:
    recording = next((finished / "data/demo/recordings").glob("*.mp4"))
    before = recording.read_bytes()
    recording.write_bytes(before + (8).to_bytes(4, "big") + b"free")  # an empty box: another file, the same film
    jobs = planned(snakemake(finished, "-n", "--", TABLE))
    shards = pd.read_csv(finished / "work/demo/manifest.csv")["shard"].nunique()
    assert shards > 2
    assert {jobs[name] for name in ("segment", "acoustic", "facial", "transcribe")} == {1}
    assert "demo" not in jobs and "manifest" not in jobs
    recording.write_bytes(before)


def test_changed_setting_remakes_only_its_stage(finished: Path) -> None:
    jobs = planned(snakemake(finished, "--config", "transcribe={beam_size: 1}", "-n", "--", TABLE))
    assert jobs["transcribe"] > 2
    assert not {"segment", "acoustic", "facial"} & set(jobs)
    jobs = planned(snakemake(finished, "--config", "train={schedule_epochs: 2}", "-n", "--", TABLE))
    assert set(jobs) == {"train", "score"}


def test_second_call_has_nothing_to_do(finished: Path) -> None:
    """Neither in a copy of the folder, nor when the sound is deleted."""
    for path in (finished / "work/demo/segments").glob("*.h5"):
        path.unlink()
    done = succeed(snakemake(finished, "--", TABLE))
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.slow
def test_original_checkpoint_goes_through_conversion_training_and_scoring(finished: Path) -> None:
    """A tiny random ChatGLM3 in the published layout, where the real one would lie; the backbone's YAML as shipped."""
    checkpoint = finished / "resources/checkpoints/chatglm3"
    target = "results/demo/chatglm3/metrics.csv"
    short = ["--config", "train={schedule_epochs: 1, batch_size: 4}", "baselines=[]"]
    done = snakemake(finished, *short, "-n", "--", target)
    assert "error: the LLM of the backbone chatglm3 is not here: no config.json in" in done.stdout + done.stderr
    write_chatglm(checkpoint, dtype=torch.float16)
    own_models(finished)
    done = succeed(snakemake(finished, *short, "--", target))
    ran = re.findall(r"Rule: (\w+)", done.stdout + done.stderr)
    assert sorted(set(ran)) == ["convert", "pretrain", "score", "train"] and ran.count("convert") == 1
    metrics = pd.read_csv(finished / target)
    assert set(metrics["model"]) == {"chatglm3", "constant"} and len(metrics) == 3 * 4 + 1
    log = (finished / "logs/demo/chatglm3/train-1111.log").read_text()
    assert "tokens: " in log and "the LLM needs about " in log
    config = MSEAdapter.from_pretrained(finished / "results/demo/chatglm3/seed-1111/adapter").config
    assert config.reading["dtype"] == "bfloat16" and config.llm_source["layout"] == "chatglm"
    assert config.train is not None and config.train.learning_rate == 5e-5
    assert (config.train.schedule_epochs, config.train.batch_size) == (1, 4)  # what the command line says outweighs

    shutil.rmtree(checkpoint)  # 12 GB of the real one may be wanted back
    done = snakemake(finished, *short, "--", target)
    assert "Nothing to be done" in done.stdout + done.stderr
    write_chatglm(checkpoint, seed=1)  # another checkpoint in its place
    assert set(planned(snakemake(finished, *short, "-n", "--", target))) == {"convert", "pretrain", "train", "score"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "sedes=[1]", "--", TABLE], "unknown key 'sedes'; did you mean 'seeds'?"),
        pytest.param(
            ["--", "results/dmo/smollm2/metrics.csv"],
            "error: no dmo.yaml in config/datasets; there is cherma, ",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--", "results/demo/lama/metrics.csv"],
            "error: no lama.yaml in config/backbones; there is chatglm3, ",
            marks=pytest.mark.slow,
        ),
        (
            ["--", "results/sims/smollm2/metrics.csv"],
            "error: the corpus sims is not here: no folder data/sims. Ask for",
        ),
    ],
)
def test_mistakes_end_with_one_message(finished: Path, arguments: list[str], message: str) -> None:
    done = snakemake(finished, "-n", *arguments)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "Traceback (most recent call last)" not in done.stdout + done.stderr
    assert "Missing input files" not in done.stdout + done.stderr


def test_mistake_in_a_table_is_shown_by_the_workflow(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "t.csv").write_text("clip_id,media,text\na,x.mp4,hi\na,y.mp4,ho\n")
    described = {"root": str(tmp_path), "tables": [{"file": "t.csv"}], "columns": {"text": "text"}}
    (tmp_path / "datasets/mine.yaml").write_text(yaml.safe_dump(described))
    done = snakemake(finished, "--config", f"config_path=[config, {tmp_path}]", "--", "work/mine/quality.csv")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "error: " in said and "t.csv: line 3 (a): clip_id appears in" in said
    assert "Traceback" not in said and "RuleException" not in said  # said before any job is planned


@pytest.mark.slow
def test_corpora_of_every_shape_run_side_by_side(finished: Path, tmp_path: Path, voice: np.ndarray) -> None:
    """Text alone, recordings to be cut, and released features: each takes the stages it needs and no other."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "words").mkdir()
    rows = [
        f"c{i},好 {i},{label},{split}" for i, (label, split) in enumerate(zip("aabb", [*SPLITS, "train"], strict=True))
    ]
    (tmp_path / "words/t.csv").write_text("\n".join(["clip_id,text,label,split", *rows]), encoding="utf-8")
    described = {
        "root": str(tmp_path / "words"),
        "tables": [{"file": "t.csv"}],
        "columns": {"media": None, "text": "text", "label": "label"},
        "modalities": ["text"],
        "split": {"by": "split"},
        "task": {"classes": {"a": ["a"], "b": ["b"]}},
        "prompt": "?",
    }
    (tmp_path / "datasets/words.yaml").write_text(yaml.safe_dump(described))
    frames = [np.zeros((64, 64, 3), np.uint8)] * (len(voice) // 16_000)
    media.write_video(tmp_path / "vidéos/deux mots.mp4", frames, voice, 1)
    with (tmp_path / "unaligned_50.pkl").open("wb") as file:
        pickle.dump(released_features(), file)
    roots = f"roots={{videos: {tmp_path / 'vidéos'}, mosei-released: {tmp_path}}}"
    released = finished / "config/datasets/mosei-released.yaml"
    released.write_text(released.read_text().replace("Processed/", ""))
    targets = [f"work/{name}/dataset.h5" for name in ("words", "videos", "mosei-released")]
    done = snakemake(finished, "--config", f"config_path=[config, {tmp_path}]", roots, "--", *targets)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    sizes = {
        name: len(ClipDataset(finished / f"work/{name}/dataset.h5")) for name in ("words", "videos", "mosei-released")
    }
    assert sizes == {"words": 4, "videos": 3, "mosei-released": 6}
    again = snakemake(finished, "--config", f"config_path=[config, {tmp_path}]", roots, "-n", "--", *targets)
    assert "Nothing to be done" in again.stdout + again.stderr
    media.write_video(tmp_path / "vidéos/trois.mp4", frames, voice, 1)
    jobs = planned(snakemake(finished, "--config", f"config_path=[config, {tmp_path}]", roots, "-n", "--", *targets))
    assert jobs["recordings"] == 1 and "released" not in jobs  # a file that has come is noticed
    ran = set(re.findall(r"Rule: (\w+)", done.stdout + done.stderr))
    assert {"recordings", "cut", "released", "manifest", "quality", "assemble"} <= ran
    assert not (finished / "work/words/segments").exists() and not (finished / "work/mosei-released/segments").exists()


def released_features() -> dict[str, dict[str, object]]:
    """Two clips a split in MMSA's layout."""
    rng = np.random.default_rng(0)
    return {
        split: {
            "id": [f"{split}$_${number}" for number in range(2)],
            "raw_text": ["so it is", "好"],
            "audio": rng.normal(size=(2, 9, 5)),
            "vision": rng.normal(size=(2, 7, 4)),
            "audio_lengths": [9, 5],
            "vision_lengths": [7, 7],
            "regression_labels": np.array([-1.0, 2.4]),
        }
        for split in SPLITS
    }
