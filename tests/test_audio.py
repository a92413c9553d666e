"""Sound at its true times, of the right track and channel, in containers that say little or change on their way."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mse import media
from mse.audio import AudioReader, read_audio
from mse.config import SegmentSettings
from mse.rows import Window
from mse.segment import read_facts, segment_shard
from mse.store import Shard
from tests.conftest import ffmpeg, tone

BEEPS_S = [1.0, 2.5, 4.5, 5.5]  # when the beeps of `beeps` begin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """beeps.wav: 6 s with four beeps of 0.25 s; growing.wav, fading.wav: half noise, which takes more bits, 12 s."""
    folder = tmp_path_factory.mktemp("audio")
    silence = np.zeros(6 * media.SAMPLE_RATE_HZ, np.int16)
    for start_s in BEEPS_S:
        first = round(start_s * media.SAMPLE_RATE_HZ)
        silence[first : first + 4000] = tone(0.25, 600.0)
    write(folder / "beeps.wav", silence)
    noise = np.random.default_rng(0).normal(0, 6000, 6 * media.SAMPLE_RATE_HZ).clip(-32768, 32767).astype(np.int16)
    write(folder / "growing.wav", np.concatenate([tone(6, level=0.02), noise]))
    write(folder / "fading.wav", np.concatenate([noise, tone(6, level=0.02)]))
    return folder


def write(path: Path, samples: np.ndarray, *options: str | Path) -> None:
    """Write samples, shape (N,) or (N, channels), with ffmpeg."""
    raw = path.with_name(path.name + ".raw")
    raw.write_bytes(samples.astype("<i2").tobytes())
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    ffmpeg("-f", "s16le", "-ar", "16000", "-ac", str(channels), "-i", raw, *options, path)
    raw.unlink()


def onsets_s(samples: np.ndarray) -> list[float]:
    """When sound begins after at least 0.3 s of near silence."""
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 2000) / media.SAMPLE_RATE_HZ
    return [float(t) for t, before in zip(loud, [-1.0, *loud[:-1]], strict=True) if t - before > 0.3]


# Sound that changes its form in mid-file: its first 3 s as one form, the rest as another.
CHANGES: dict[str, tuple[list[str], list[str]]] = {
    "broadcast.ts": (["-c:a", "aac", "-ar", "48000", "-ac", "2"], ["-c:a", "aac", "-ar", "44100", "-ac", "1"]),
    "layout.ts": (["-c:a", "ac3", "-ar", "48000", "-ac", "2"], ["-c:a", "ac3", "-ar", "48000", "-ac", "6"]),
    "rate.mp3": (["-ar", "44100", "-ac", "2", "-write_xing", "0"], ["-ar", "22050", "-ac", "1", "-write_xing", "0"]),
    "rate.aac": (["-c:a", "aac", "-ar", "22050", "-ac", "1"], ["-c:a", "aac", "-ar", "48000", "-ac", "2"]),
    "rate.latm": (["-c:a", "aac", "-ar", "48000", "-ac", "2"], ["-c:a", "aac", "-ar", "44100", "-ac", "1"]),
    "chained.opus": (["-c:a", "libopus", "-ac", "1", "-b:a", "24k"], ["-c:a", "libopus", "-ac", "1", "-b:a", "64k"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_sound_that_changes_its_form_keeps_its_times(folder: Path, tmp_path: Path, name: str) -> None:
    first, second = CHANGES[name]
    ending = name.partition(".")[2]
    ffmpeg("-i", folder / "beeps.wav", "-t", "3", *first, tmp_path / f"a.{ending}")
    offset = ["-output_ts_offset", "3"] if ending == "ts" else []
    ffmpeg("-ss", "3", "-i", folder / "beeps.wav", *second, *offset, tmp_path / f"b.{ending}")
    path = tmp_path / name
    path.write_bytes((tmp_path / f"a.{ending}").read_bytes() + (tmp_path / f"b.{ending}").read_bytes())
    whole = read_audio(path)
    # Encoders add some hundredths of a second of silence at the beginning of each part.
    assert onsets_s(whole) == pytest.approx(BEEPS_S, abs=0.15)
    assert len(whole) / media.SAMPLE_RATE_HZ == pytest.approx(6.0, abs=0.2)
    assert media.probe(path).duration_s == pytest.approx(len(whole) / media.SAMPLE_RATE_HZ, abs=0.1)
    assert np.array_equal(np.concatenate(list(AudioReader(path).blocks(block_s=0.7))), whole)
    assert onsets_s(read_audio(path, 4.2, 6.0)) == pytest.approx([0.3, 1.3], abs=0.15)  # alone, after the change


@pytest.mark.parametrize("ending", ["ts", "mpg", "ogg"])
def test_a_window_after_a_clock_that_begins_anew(folder: Path, tmp_path: Path, ending: str) -> None:
    """Two recordings in one file, each of which counts from 0; a window is the same whatever is read with it."""
    codec = ["-c:a", "libvorbis" if ending == "ogg" else "mp2"]
    tones = np.concatenate([tone(1, hertz) for hertz in range(200, 1400, 100)])  # a second each
    for name, part in (("a", tones[: 6 * 16_000]), ("b", tones[6 * 16_000 :])):
        write(tmp_path / f"{name}.{ending}", part, *codec)
    path = tmp_path / f"x.{ending}"
    path.write_bytes(b"".join((tmp_path / f"{name}.{ending}").read_bytes() for name in "ab"))
    assert media.probe(path).duration_s == pytest.approx(12.0, abs=0.2)
    for second in (2, 4, 7, 10):
        [(row, samples)] = segment(path, tmp_path, [(second + 0.25, second + 0.75)])
        assert row.status == "ok" and len(samples) == 8000
        found = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * 2
        assert found == pytest.approx(200 + 100 * second, abs=4)


def test_a_file_that_can_not_be_sought_in_costs_no_other(folder: Path, tmp_path: Path) -> None:
    ffmpeg("-i", folder / "beeps.wav", "-c:a", "libmp3lame", "-ar", "44100", tmp_path / "x.swf")
    clips = [
        Window(name, str(path), 4.2, 6.0)
        for name, path in (("good", folder / "beeps.wav"), ("swf", tmp_path / "x.swf"))
    ]
    segment_shard(clips, tmp_path / "s.h5", tmp_path / "s.csv", "test", SegmentSettings())
    with Shard(tmp_path / "s.h5") as shard:
        found = [onsets_s(clip.values[:, 0]) for clip in shard]
    assert found[0] == pytest.approx([0.3, 1.3], abs=0.01) and found[1] == pytest.approx([0.3, 1.3], abs=0.15)


def test_what_libav_can_not_read_on_is_told(folder: Path, tmp_path: Path) -> None:
    """Ogg whose second part has another number of channels, which libav does not know how to read."""
    for name, channels in (("a.ogg", "1"), ("b.ogg", "2")):
        ffmpeg("-i", folder / "beeps.wav", "-c:a", "libvorbis", "-ac", channels, tmp_path / name)
    path = tmp_path / "x.ogg"
    path.write_bytes((tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes())
    [(row, samples)] = segment(path, tmp_path, [(np.nan, np.nan)])
    assert row.status == "cut" and "x.ogg: can't be read beyond 6.0" in row.message
    assert onsets_s(samples) == pytest.approx(BEEPS_S, abs=0.1)


def test_a_clock_that_steps_back_inserts_and_cuts_nothing(folder: Path, tmp_path: Path) -> None:
    """The second part says that it begins 0.2 s before the first one's end, as broadcasts do at a splice."""
    for part, window, form in (("a.ts", ["-t", "3"], ["-ar", "48000"]), ("b.ts", ["-ss", "3"], ["-ar", "44100"])):
        offset = ["-output_ts_offset", "2.8"] if part == "b.ts" else []
        ffmpeg(*window, "-i", folder / "beeps.wav", "-c:a", "aac", *form, *offset, tmp_path / part)
    (tmp_path / "x.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    assert onsets_s(read_audio(tmp_path / "x.ts")) == pytest.approx(BEEPS_S, abs=0.15)
    assert media.probe(tmp_path / "x.ts").duration_s == pytest.approx(6.0, abs=0.15)


def piped(source: Path, target: Path, *options: str) -> None:
    """Write through a pipe, into which no length can be written afterwards."""
    target.write_bytes(ffmpeg("-i", source, *options, "pipe:"))


LENGTHLESS: dict[str, Callable[[Path, Path], object]] = {
    "vbr.mp3": lambda source, out: ffmpeg("-i", source, "-q:a", "5", "-write_xing", "0", out),
    "raw.aac": lambda source, out: ffmpeg("-i", source, "-c:a", "aac", "-q:a", "1", out),
    "streamed.wma": lambda source, out: piped(source, out, "-c:a", "wmav2", "-f", "asf"),
    "streamed.avi": lambda source, out: piped(source, out, "-c:a", "libmp3lame", "-q:a", "5", "-f", "avi"),
    "streamed.webm": lambda source, out: piped(source, out, "-c:a", "libopus", "-f", "webm"),
    "streamed.mp4": lambda source, out: piped(source, out, "-c:a", "aac", "-movflags", "empty_moov", "-f", "mp4"),
    "memo.amr": lambda source, out: ffmpeg("-i", source, "-ar", "8000", "-c:a", "libopencore_amrnb", out),
    "streamed.flac": lambda source, out: piped(source, out, "-f", "flac"),
}


@pytest.mark.parametrize("source", ["growing.wav", "fading.wav"])
@pytest.mark.parametrize("name", LENGTHLESS)
def test_length_is_the_end_of_the_last_packet(folder: Path, tmp_path: Path, name: str, source: str) -> None:
    """Of a bit rate that grows or falls, so that a guess by the first packets is too long or too short."""
    path = tmp_path / name
    LENGTHLESS[name](folder / source, path)
    assert media.probe(path).duration_s == pytest.approx(12.0, abs=0.15)
    rows = segment(path, tmp_path, [(9.0, 11.5), (np.nan, np.nan)])
    expected = "cut" if name == "streamed.avi" else "ok"  # whose header tells of a quarter of an hour
    assert [row.status for row, _ in rows] == [expected, expected]
    assert [len(samples) / media.SAMPLE_RATE_HZ for _, samples in rows] == pytest.approx([2.5, 12.0], abs=0.15)


def segment(path: Path, folder: Path, windows: list[tuple[float, float]], **settings: object) -> list[tuple]:
    """Row and samples of each window of a recording."""
    clips = [Window(f"c{n}", str(path), start_s, end_s) for n, (start_s, end_s) in enumerate(windows)]
    segment_shard(clips, folder / "s.h5", folder / "s.csv", "test", SegmentSettings(**settings))
    facts = {row.clip_id: row for row in read_facts(folder / "s.csv")}
    with Shard(folder / "s.h5") as shard:
        return [(facts[clip.clip_id], shard[shard.clip_ids.index(clip.clip_id)].values[:, 0]) for clip in clips]


@pytest.mark.parametrize("ending", ["mp3", "aac", "ts", "mp4", "mkv", "flac", "ogg"])
def test_a_window_is_what_the_whole_has_there(folder: Path, tmp_path: Path, ending: str) -> None:
    ffmpeg("-i", folder / "beeps.wav", tmp_path / f"x.{ending}")
    whole = read_audio(tmp_path / f"x.{ending}")
    part = read_audio(tmp_path / f"x.{ending}", 2.25, 5.0)
    assert len(part) == 44_000
    assert np.abs(part.astype(int) - whole[36_000:80_000]).max() < 300


@pytest.mark.parametrize(("ending", "title"), [("mkv", "title"), ("mp4", "handler_name")])
def test_the_track_that_is_marked_as_default_is_taken(folder: Path, tmp_path: Path, ending: str, title: str) -> None:
    """As OBS writes it: the desktop, silent, then the microphone."""
    path = tmp_path / f"obs.{ending}"
    silent = ["-f", "lavfi", "-t", "6", "-i", "anullsrc=r=16000:cl=mono"]
    marks = ["-disposition:a:0", "0", "-disposition:a:1", "default", "-metadata:s:a:1", f"{title}=Mic"]
    ffmpeg(*silent, "-i", folder / "beeps.wav", "-map", "0:a", "-map", "1:a", "-c:a", "aac", *marks, path)
    info = media.probe(path)
    assert (info.audio_tracks, info.audio_track) == (2, 2)
    [(row, samples)] = segment(path, tmp_path, [(0.0, 6.0)])
    assert row.status == "ok" and onsets_s(samples) == pytest.approx(BEEPS_S, abs=0.1)
    assert "it has 2 audio tracks; track 2 was used (see segment.audio_track)" in row.message
    [(row, samples)] = segment(path, tmp_path, [(0.0, 6.0)], audio_track=1)
    assert row.status == "nothing_found" and not len(samples)
    assert "only silence" in row.message and "track 1 was used (as segment.audio_track says)" in row.message
    [(row, samples)] = segment(path, tmp_path, [(0.0, 6.0)], audio_track=3)
    assert row.status == "no_stream" and "audio_track = 3, but this file has 2" in row.message


OPPOSITE: dict[str, list[str]] = {"x.flac": [], "x.wav": [], "x.mp3": ["-joint_stereo", "0"], "x.m4a": ["-b:a", "160k"]}


@pytest.mark.parametrize("name", OPPOSITE)
@pytest.mark.parametrize(("gain", "noise"), [(1.0, 0.0), (0.8, 0.0), (1.0, 0.3)])
def test_channels_of_opposite_phase_are_not_mixed(tmp_path: Path, name: str, gain: float, noise: float) -> None:
    """The voice of one channel is kept: of the louder one, or from under the noise that a mix would leave alone."""
    voice = tone(4, level=0.4)
    hiss = np.random.default_rng(0).normal(0, noise * voice.std(), (len(voice), 2))
    write(tmp_path / name, np.stack([-gain * voice, voice], axis=1) + hiss, *OPPOSITE[name])
    [(row, samples)] = segment(tmp_path / name, tmp_path, [(0.5, 3.5)])
    assert row.status == "ok" and "opposite phase" in row.message
    if gain < 1:
        assert "the mix of its 2 channels is far quieter than channel 2 alone, which was used" in row.message
    expected = voice[8_000 : 8_000 + len(samples)]
    assert abs(np.corrcoef(samples, expected)[0, 1]) > 0.9


def test_a_phase_that_turns_on_the_way(tmp_path: Path) -> None:
    """From in phase to opposite, as when a plug is changed: no more than a second of it becomes silence."""
    voice = tone(80, level=0.4)
    other = np.where(np.arange(len(voice)) < 32 * 16_000, voice, -voice)
    write(tmp_path / "x.flac", np.stack([voice, other], axis=1))
    found = read_audio(tmp_path / "x.flac").reshape(-1, 8_000)
    assert (found.astype(float).std(axis=1) < 0.5 * voice.std()).sum() <= 2  # half seconds


def test_ordinary_channels_are_mixed(tmp_path: Path) -> None:
    """Alike, unlike, one of them silent, and six of which the middle one speaks alone."""
    rng = np.random.default_rng(0)
    voice, other = tone(4, level=0.3), rng.normal(0, 3000, 64_000).astype(np.int16)
    none = np.zeros_like(voice)
    six = [none, none, voice, none, none, none]
    for number, channels in enumerate([[voice, voice], [voice, other], [none, voice], six]):
        path = tmp_path / f"{number}.wav"
        write(path, np.stack(channels, axis=1))
        reader = AudioReader(path)
        mixed = np.concatenate(list(reader.blocks()))
        assert reader.note == "" and np.abs(mixed.astype(int)).max() > 1000
        if number == 1:
            assert np.abs(mixed[1000:2000] - (voice[1000:2000].astype(float) + other[1000:2000]) / 2).max() < 4


def test_silence_around_opposite_channels(tmp_path: Path) -> None:
    """Longer than what is compared at once; its first and last seconds are silent."""
    voice = np.concatenate([np.zeros(32_000, np.int16), tone(40, level=0.4), np.zeros(32_000, np.int16)])
    write(tmp_path / "x.flac", np.stack([voice, -voice], axis=1))
    found = read_audio(tmp_path / "x.flac")
    assert len(found) == len(voice)
    assert min(np.abs(found.astype(int) - voice).max(), np.abs(found.astype(int) + voice).max()) <= 1
