"""What predictions follow."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mse.errors import UserError
from mse.parts import parts


def made(folder: Path, **columns: object) -> Path:
    path = folder / "predictions.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_weights_are_those_that_made_the_predictions(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 2))
    facts = pd.DataFrame({"clip_id": [f"c{n}" for n in range(40)], "word": values[:, 0], "voice": values[:, 1]})
    facts.to_csv(tmp_path / "clips.csv", index=False)
    heard = made(
        tmp_path, clip_id=facts.clip_id[::-1], prediction=(1 + 0.5 * values[:, 1])[::-1], label=values.sum(1)[::-1]
    )
    label, model = parts([heard], tmp_path / "clips.csv", ["word", "voice"]).to_dict("records")
    assert (label["of"], model["of"], model["n"]) == ("label", str(heard), 40)
    assert [label["word"], label["voice"], label["r2"]] == pytest.approx([1, 1, 1])
    assert [model["word"], model["voice"], model["r2"]] == pytest.approx([0, 0.5, 1], abs=1e-9)
    with pytest.raises(UserError, match="no column 'face'; it has word, voice"):
        parts([heard], tmp_path / "clips.csv", ["face"])
    fewer = tmp_path / "fewer.csv"
    pd.read_csv(heard).iloc[1:].to_csv(fewer, index=False)
    with pytest.raises(UserError, match=r"fewer\.csv: not the same clips as .*predictions\.csv"):
        parts([heard, fewer], tmp_path / "clips.csv", ["word"])
    facts.assign(word=None).to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(UserError, match=r"none\.csv: word: no number for the clip c39"):
        parts([heard], tmp_path / "none.csv", ["word"])
    with pytest.raises(UserError, match=r"lacks the clip new of .*predictions\.csv"):
        parts([made(tmp_path, clip_id=["new"], prediction=[0.0], label=[0.0])], tmp_path / "clips.csv", ["word"])
    endless = made(tmp_path, clip_id=["c0", "c1"], prediction=[0.0, np.inf], label=[0.0, 1.0])
    with pytest.raises(UserError, match=r"predictions\.csv: prediction of 'c1' is no number"):
        parts([endless], tmp_path / "clips.csv", ["word"])
