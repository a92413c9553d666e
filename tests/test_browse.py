"""The page of a result in a real Chromium: from a file, by mouse and keyboard, whatever clips are called."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import Select, WebDriverWait
from typer.testing import CliRunner

from mse import media
from mse.cli import app
from mse.config import Classes
from mse.corpus import read_excluded, read_manifest, write_manifest
from mse.data import ClipDataset
from tests.chromium import opened, why_no_browser
from tests.conftest import tone
from tests.made import make_dataset

MARKUP = "</script><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\"><b>bold</b>"
WORDS = f"it is so, 好, {MARKUP}"
CLASSES = Classes(classes={"calm": ["calm"], "angry": ["angry"]})


def run(*arguments: str | Path) -> None:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.exception


def make_result(folder: Path, task: Any = None, clips: int = 16) -> Path:
    """results/made/tiny with two runs, and what stands behind it in work/made. Returns the folder of the result."""
    work = folder / "work" / "made"
    work.mkdir(parents=True)
    data = make_dataset(work, clips, text=WORDS, **({"task": task} if task else {}))
    with ClipDataset(data) as dataset:
        test = dataset.indices("test")
        names, labels = [dataset.clip_ids[index] for index in test], dataset.labels[test]
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        table = pd.DataFrame({"clip_id": names, "text": WORDS})
        if task:
            kinds = np.array(list(task.names))
            share = rng.uniform(0.05, 0.95, len(names))
            table = table.assign(prediction=kinds[(share < 0.5).astype(int)], label=kinds[labels.astype(int)])
            table = table.assign(**{f"p_{kinds[0]}": share, f"p_{kinds[1]}": 1 - share})
        else:
            table = table.assign(prediction=(labels + rng.normal(0, 0.5, len(names))).clip(-3, 3), label=labels)
            near = {f"{value:+.1f}": np.exp(-((labels - value) ** 2)) for value in np.arange(-30, 31) / 10}
            table = table.assign(**{f"p_{name}": share / sum(near.values()) for name, share in near.items()})
            table.loc[0, "prediction"], table["answer"] = None, WORDS
        out = folder / "results/made/tiny" / f"seed-{seed}"
        out.mkdir(parents=True)
        table.to_csv(out / "predictions.csv", index=False)
    return folder / "results/made/tiny"


@pytest.fixture
def browser_needed() -> None:
    if reason := why_no_browser():
        pytest.skip(reason)


def rows(browser: WebDriver) -> list[str]:
    return [row.get_attribute("aria-label") or "" for row in browser.find_elements(By.CSS_SELECTOR, "tbody tr")]


def is_open(browser: WebDriver) -> bool:
    return bool(browser.execute_script("return document.querySelector('dialog').open"))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, portrait_frames: list[np.ndarray], landmarker: Path) -> Path:
    """A page whose first test clip has a recording of an odd name, a thumbnail and a time axis; others have none."""
    folder = tmp_path_factory.mktemp("browse it")
    result = make_result(folder)
    work = folder / "work/made"
    recording = folder / "media" / "a #1 50% <b>.mp4"
    recording.parent.mkdir()
    media.write_video(recording, portrait_frames, tone(2), 25)
    table, excluded = read_manifest(work / "manifest.csv"), read_excluded(work / "manifest.csv")
    first = table["clip_id"].to_numpy() == table.loc[table["split"] == "test", "clip_id"].iloc[0]
    table["media"] = np.where(first, str(recording), "")
    write_manifest(table, excluded, work / "manifest.csv")
    cut = ["--shard", "0000", "--dataset", "made", "--out", work / "segments/0000.h5"]
    run("segment", work / "manifest.csv", *cut, "--facts", work / "segments/0000.csv")
    run("browse", result, "--work", folder / "work", "--model", landmarker)
    return result / "browse.html"


@pytest.mark.slow
def test_table_is_sorted_filtered_and_counted(seen: Path, browser_needed: None) -> None:
    with opened(seen) as browser:
        everything = rows(browser)
        assert len(everything) == 4 and browser.title == "made / tiny"
        assert "4 of 4 test clips, mean error" in browser.find_element(By.ID, "summary").text
        # The clip without an answer has the largest error.
        assert everything[0] == "clip003" and "no answer" in browser.find_element(By.CSS_SELECTOR, "tbody tr").text
        browser.find_element(By.CSS_SELECTOR, "th[data-key=name] button").click()
        assert rows(browser) == sorted(everything)
        assert browser.find_element(By.CSS_SELECTOR, "th[data-key=name]").get_attribute("aria-sort") == "ascending"
        browser.find_element(By.CSS_SELECTOR, "th[data-key=name] button").click()
        assert rows(browser) == sorted(everything, reverse=True)
        browser.find_element(By.ID, "search").send_keys("CLIP007")
        assert rows(browser) == ["clip007"]
        browser.find_element(By.ID, "search").send_keys("x")
        assert rows(browser) == [] and browser.find_element(By.ID, "nothing").is_displayed()
        browser.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
        WebDriverWait(browser, 5).until(lambda _: len(rows(browser)) == 4)
        Select(browser.find_element(By.ID, "label")).select_by_visible_text("above 0")
        above = set(rows(browser))
        Select(browser.find_element(By.ID, "label")).select_by_visible_text("below 0")
        assert above and set(rows(browser)) == set(everything) - above
        assert "only those with a remark" in browser.find_element(By.ID, "filters").text
        before = browser.find_element(By.ID, "summary").text
        Select(browser.find_element(By.ID, "run")).select_by_visible_text("seed-2")
        assert browser.find_element(By.ID, "summary").text != before


@pytest.mark.slow
def test_rows_are_made_as_they_are_asked_for(tmp_path: Path, browser_needed: None, landmarker: Path) -> None:
    result = make_result(tmp_path, clips=2000)
    run("browse", result, "--work", tmp_path / "work", "--model", landmarker, "--out", tmp_path / "page.html")
    with opened(tmp_path / "page.html") as browser:
        order = browser.execute_script("return shown.rows.map((clip) => clip.id)")
        assert len(order) == 500 and rows(browser) == order[:200]
        browser.execute_script("document.querySelector('footer').scrollIntoView()")
        WebDriverWait(browser, 5).until(lambda _: rows(browser) == order[:400])
        Select(browser.find_element(By.ID, "run")).select_by_visible_text("seed-2")
        assert len(rows(browser)) == 200 and browser.execute_script("return scrollY") == 0
        browser.find_element(By.CSS_SELECTOR, "tbody tr").send_keys(Keys.END)
        order = browser.execute_script("return shown.rows.map((clip) => clip.id)")
        assert rows(browser) == order and browser.switch_to.active_element.get_attribute("aria-label") == order[-1]
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        assert is_open(browser) and browser.find_element(By.ID, "name").text == order[-1]


@pytest.mark.slow
def test_everything_can_be_done_by_keys(seen: Path, browser_needed: None) -> None:
    with opened(seen) as browser:
        page = browser.find_element(By.TAG_NAME, "body")
        page.send_keys("/")
        browser.switch_to.active_element.send_keys("clip")
        assert browser.find_element(By.ID, "search").get_attribute("value") == "clip"
        browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
        order = rows(browser)
        assert browser.switch_to.active_element.get_attribute("aria-label") == order[0]
        browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
        assert browser.switch_to.active_element.get_attribute("aria-label") == order[1]
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        assert is_open(browser) and browser.find_element(By.ID, "name").text == order[1]
        browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        assert browser.find_element(By.ID, "name").text == order[2]
        browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        WebDriverWait(browser, 5).until(lambda _: not is_open(browser))
        back = WebDriverWait(browser, 5)  # the page puts the focus back after it has closed the clip
        back.until(lambda _: browser.switch_to.active_element.get_attribute("aria-label") == order[2])


@pytest.mark.slow
def test_a_clip_is_seen_heard_and_explained(seen: Path, browser_needed: None, tmp_path: Path) -> None:
    with opened(seen) as browser:
        browser.find_element(By.CSS_SELECTOR, "tbody tr[aria-label=clip003]").click()
        clip = browser.find_element(By.ID, "clip")
        assert "none, but wrote it is so" in clip.text and "measured" in clip.text
        video = browser.find_element(By.TAG_NAME, "video")
        browser.execute_script("arguments[0].load(); arguments[0].muted = true; arguments[0].play()", video)
        WebDriverWait(browser, 20).until(lambda _: float(video.get_property("currentTime")) > 0.1)
        assert float(video.get_property("duration")) == pytest.approx(2, abs=0.2)
        axis = browser.find_element(By.CSS_SELECTOR, "img.axis")
        assert int(axis.get_property("naturalWidth")) == 1600 and "clip003" in (axis.get_attribute("alt") or "")
        assert len(browser.find_elements(By.CSS_SELECTOR, ".chances rect")) == 61
        browser.save_screenshot(str(tmp_path / "clip.png"))
        with Image.open(tmp_path / "clip.png") as shot:
            assert len(shot.convert("RGB").getcolors(1 << 24)) > 500  # a portrait is in it
        browser.find_element(By.ID, "close").click()
        browser.find_element(By.CSS_SELECTOR, "tbody tr[aria-label=clip007]").click()
        clip = browser.find_element(By.ID, "clip")
        assert "There is no recording to play." in clip.text and "mse show 'clip007' --corpus made" in clip.text


@pytest.mark.slow
def test_markup_in_names_and_words_is_text(seen: Path, browser_needed: None) -> None:
    """And nothing but the page itself and the recording is asked for."""
    with opened(seen) as browser:
        assert MARKUP in browser.find_element(By.CSS_SELECTOR, "td.words").text
        browser.find_element(By.CSS_SELECTOR, "tbody tr[aria-label=clip003]").click()
        assert MARKUP in browser.find_element(By.ID, "clip").text
        assert browser.title == "made / tiny"
        assert not browser.find_elements(By.CSS_SELECTOR, "#clip b b, #clip bdi b, td b, img[onerror]")
        asked = browser.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)")
        assert all(str(name).startswith(("data:", "file:")) for name in asked)
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.slow
def test_classes(tmp_path: Path, browser_needed: None, landmarker: Path) -> None:
    result = make_result(tmp_path, CLASSES)
    run("browse", result, "--work", tmp_path / "work", "--model", landmarker, "--out", tmp_path / "page.html")
    with opened(tmp_path / "page.html") as browser:
        table = pd.read_csv(result / "seed-1/predictions.csv")
        wrong = int((table["prediction"] != table["label"]).sum())
        assert f"4 of 4 test clips, {wrong} wrong" in browser.find_element(By.ID, "summary").text
        Select(browser.find_element(By.ID, "label")).select_by_visible_text("calm")
        assert sorted(rows(browser)) == sorted(table.loc[table["label"] == "calm", "clip_id"])
        browser.find_element(By.CSS_SELECTOR, "tbody tr").click()
        assert len(browser.find_elements(By.CSS_SELECTOR, ".shares meter")) == 2


def test_same_inputs_same_page(seen: Path, landmarker: Path, tmp_path: Path) -> None:
    options = ["--work", seen.parents[3] / "work", "--model", landmarker]
    run("browse", seen.parent, *options, "--out", seen.with_name("again.html"))
    assert seen.with_name("again.html").read_bytes() == seen.read_bytes()


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    def refused(*arguments: str | Path) -> str:
        return str(CliRunner().invoke(app, ["browse", *map(str, arguments)]).exception)

    assert "no RUN/predictions.csv in this folder" in refused(tmp_path)
    result = make_result(tmp_path)
    moved = tmp_path / "elsewhere"
    result.rename(moved)
    assert "not below a folder results/CORPUS; say --corpus" in refused(moved)
    table = moved / "seed-2/predictions.csv"
    pd.read_csv(table).iloc[1:].to_csv(table, index=False)
    assert "not the same clips as" in refused(moved, "--corpus", "made", "--work", tmp_path / "work")
