"""Configuration: everything that ships is valid, and every mistake is named."""

import json
from pathlib import Path

import pytest
import yaml

from mse import config
from mse.errors import UserError
from tests.conftest import ROOT


def test_config_yaml_states_the_defaults() -> None:
    """Each key of config.yaml is there with the value that a missing key would have."""
    written = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert config.parse(config.Config, written, "config.yaml") == config.Config()
    assert set(written) == set(config.Config.model_fields)
    for name, section in config.Config():
        if isinstance(section, config.Section):
            assert set(written[name]) == set(type(section).model_fields), name


def test_everything_that_ships_is_valid() -> None:
    datasets = sorted((ROOT / "config").rglob("datasets/*.yaml"))
    backbones = sorted((ROOT / "config").rglob("backbones/*.yaml"))
    assert len(datasets) == 14 and len(backbones) == 8
    every = config.Config(config_path=[ROOT / "config"])
    for path in datasets:
        config.adapter_settings(every, config.load_dataset(every, path.stem))
    for path in backbones:
        assert config.load_backbone(every, path.stem).license


def test_schemas_are_up_to_date(tmp_path: Path) -> None:
    config.write_schemas(tmp_path)
    for path in tmp_path.iterdir():
        shipped = json.loads((ROOT / "workflow/schemas" / path.name).read_text())
        assert shipped == json.loads(path.read_text()), "run `mse schema`"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sedes": [1]}, "unknown key 'sedes'; did you mean 'seeds'?"),
        ({"zzz": 1}, "unknown key 'zzz'; known keys: config_path, roots, checkpoints"),
        ({"train": {"learning_rte": 1}}, "unknown key 'train.learning_rte'; did you mean 'learning_rate'?"),
        ({"train": {"batch_size": 0}}, "train.batch_size = 0: Input should be greater than 0"),
        ({"train": {"batch_size": "many"}}, "train.batch_size = 'many': Input should be a valid integer"),
        ({"acoustic": {"feature_set": "IS99"}}, "acoustic.feature_set = 'IS99': Input should be 'eGeMAPSv02'"),
        ({"seeds": []}, "seeds = []"),
        ({"assemble": {"max_bad_fraction": 2}}, "assemble.max_bad_fraction = 2"),
        ({"train": 3}, "train = 3"),
        ({"train": {"learning_rate": float("inf")}}, "train.learning_rate = inf"),
        ({"seeds": [-1]}, "seeds.0 = -1"),
        ({"seeds": [1, 2, 1]}, "seeds = [1, 2, 1]: a seed stands there twice"),
    ],
)
def test_mistakes_are_named(values: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        config.parse(config.Config, values, "my.yaml")
    assert f"my.yaml: {message}" in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        config.parse(config.Config, {"a": 1, "train": {"b": 2}}, "my.yaml")
    assert str(caught.value).count("unknown key") == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": {"low": 3, "high": -3}}, "low (3.0) must be less than high (-3.0)"),
        ({"columns": {"text": "text"}}, "columns.label does not say"),
        ({"prompt": ""}, "no prompt"),
        ({"columns": {"label": "label"}}, "columns.text does not say"),
        ({"train": {"schedule_epoch": 3}}, "unknown key 'schedule_epoch'; did you mean 'schedule_epochs'?"),
        ({"adapter": {"pooling": "max"}}, "pooling = 'max'"),
    ],
)
def test_mistakes_in_a_corpus(tmp_path: Path, change: dict, message: str) -> None:
    good = {
        "root": "x",
        "tables": [{"file": "t.csv"}],
        "columns": {"text": "t", "label": "y"},
        "task": {},
        "prompt": "How?",
    }
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/mine.yaml").write_text(yaml.safe_dump(good | change))
    with pytest.raises(UserError) as caught:
        config.load_dataset(config.Config(config_path=[tmp_path]), "mine")
    assert "mine.yaml" in str(caught.value) and message in str(caught.value)


def test_unknown_corpus_lists_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no dmo\.yaml in .*datasets; there is cherma, cherma-released, demo, "):
        config.load_dataset(config.Config(config_path=[ROOT / "config"]), "dmo")


def test_overrides_are_applied_in_order() -> None:
    tables = [config.Table(file="t.csv")]
    dataset = config.Dataset(
        root=Path("x"), tables=tables, text_from="asr", train={"batch_size": 3, "learning_rate": 0.1}
    )
    backbone = config.Backbone(model="m", license="l", open_mark="", close_mark="", train={"learning_rate": "5e-5"})
    merged = config.train_settings(config.Config(), "mine", dataset, backbone)
    assert (merged.batch_size, merged.learning_rate) == (3, 5e-5)
    backbone = backbone.model_copy(update={"corpora": {"mine": {"learning_rate": 7e-5, "threads": 1}}})
    for name in ("mine", "mine-released"):
        merged = config.train_settings(config.Config(), name, dataset, backbone)
        assert (merged.batch_size, merged.learning_rate, merged.threads) == (3, 7e-5, 1)
    said = {"train": {"learning_rate": 1.0}, "adapter": {"pooling": "last"}}
    merged = config.train_settings(config.Config(), "mine", dataset, backbone, said)
    assert (merged.batch_size, merged.learning_rate, merged.threads) == (3, 1.0, 1)
    assert config.adapter_settings(config.Config(), dataset, said).pooling == "last"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "expected keys with values, found list"),
        ("", "expected keys with values, found NoneType"),
    ],
)
def test_broken_yaml_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match=f"x.yaml: {message}"):
        config.read_yaml(tmp_path / "x.yaml")


def test_settings_from_the_command_line(tmp_path: Path) -> None:
    assert config.settings(config.FacialSettings, None) == config.FacialSettings()
    assert config.settings(config.FacialSettings, '{"rate_hz": 5}').rate_hz == 5
    (tmp_path / "s.yaml").write_text("rate_hz: 7")
    assert config.settings(config.FacialSettings, str(tmp_path / "s.yaml")).rate_hz == 7
    with pytest.raises(UserError, match="FacialSettings: not valid JSON"):
        config.settings(config.FacialSettings, "{rate")
