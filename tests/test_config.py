"""Configuration: everything that ships is valid, and every mistake is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mse import config
from mse.adapter import AdapterConfig, MSEAdapter
from mse.adapter.published import PUBLISHED
from mse.errors import UserError
from mse.labels import label_text
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
    variants = sorted((ROOT / "config").rglob("variants/*.yaml"))
    assert (len(datasets), len(backbones), len(variants)) == (14, 8, 27)
    every = config.Config(config_path=[ROOT / "config"])
    for path in datasets:
        config.load_dataset(every, path.stem)
    for path in backbones:
        assert config.load_backbone(every, path.stem).license
    named = {*every.ablations, *every.baselines} - {"zero-shot", "linear"}
    assert named <= {path.stem for path in variants}
    for path in variants:
        assert config.load_variant(every, path.stem).description


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
        ({"acoustic": {"feature_set": "IS99"}}, "acoustic.feature_set"),  # sets have names
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
    alone = config.Experiment(config.Config(), "mine", dataset, backbone)
    assert (alone.train.batch_size, alone.train.learning_rate) == (3, 5e-5)
    kin = config.Overlay(train={"learning_rate": 7e-5, "threads": 1}, adapter={"pseudo_tokens": 2})
    backbone = backbone.model_copy(update={"corpora": {"mine": kin}})
    for name in ("mine", "mine-released"):
        here = config.Experiment(config.Config(), name, dataset, backbone)
        assert (here.train.batch_size, here.train.learning_rate, here.train.threads) == (3, 7e-5, 1)
        assert here.adapter.pseudo_tokens == 2
    said = {"train": {"learning_rate": 1.0}, "adapter": {"pooling": "last", "pseudo_tokens": 6}}
    here = config.Experiment(config.Config(), "mine", dataset, backbone, said)
    assert (here.train.batch_size, here.train.learning_rate, here.train.threads) == (3, 1.0, 1)
    assert (here.adapter.pooling, here.adapter.pseudo_tokens) == ("last", 6)
    variant = config.Variant(description="v", adapter={"pseudo_tokens": 8})
    assert replace(here, variant=variant).adapter.pseudo_tokens == 8  # what an ablation changes, it changes


EVERY = config.Config(config_path=[ROOT / "config"])


def experiment(corpus: str, backbone: str, said: config.files.Said | None = None) -> config.Experiment:
    dataset = config.load_dataset(EVERY, corpus)
    return config.Experiment(EVERY, corpus, dataset, config.load_backbone(EVERY, backbone), said or {})


# Widths of frames, longest text, h_a, h_v, patience; schedule, learning rate, batch; trainable parameters.
PAPER = {
    ("mosei", "chatglm3"): (74, 35, 50, 64, 32, 10, 30, 5e-5, 8, 2_631_692),
    ("mosei", "llama2"): (74, 35, 50, 64, 32, 10, 30, 5e-5, 8, 2_631_692),
    ("mosei", "qwen"): (74, 35, 50, 64, 32, 10, 30, 5e-3, 16, 1_351_244),
    ("simsv2", "chatglm3"): (25, 177, 50, 64, 64, 10, 80, 5e-5, 8, 2_680_716),
    ("simsv2", "llama2"): (25, 177, 50, 64, 64, 10, 40, 5e-5, 8, 2_680_716),
    ("simsv2", "qwen"): (25, 177, 50, 64, 64, 10, 30, 5e-4, 16, 1_400_268),
    ("meld", "chatglm3"): (64, 64, 65, 64, 32, 8, 90, 5e-5, 8, 2_632_844),
    ("meld", "llama2"): (64, 64, 65, 64, 32, 8, 30, 5e-4, 6, 2_632_844),
    ("meld", "qwen"): (64, 64, 65, 32, 16, 8, 50, 5e-4, 16, 1_312_072),
    ("cherma", "chatglm3"): (1024, 2048, 78, 32, 16, 8, 30, 5e-5, 8, 2_842_380),
    ("cherma", "llama2"): (1024, 2048, 78, 32, 16, 8, 30, 5e-5, 6, 2_842_380),
    ("cherma", "qwen"): (1024, 2048, 78, 32, 16, 8, 30, 5e-3, 16, 1_561_932),
}


@pytest.mark.parametrize("suffix", ["", "-released"])
@pytest.mark.parametrize(("corpus", "backbone"), PAPER)
def test_paper_preset_is_the_papers_table(corpus: str, backbone: str, suffix: str) -> None:
    acoustic, facial, text, h_a, h_v, patience, epochs, rate, batch, parameters = PAPER[corpus, backbone]
    preset = config.read_yaml(ROOT / "config/presets/paper.yaml")
    assert config.parse(config.Config, preset, "paper.yaml").seeds == [1111, 2222, 3333, 4444, 5555]
    paper = experiment(corpus + suffix, backbone, preset)
    train, adapter = paper.train, paper.adapter
    assert (train.max_text_tokens, train.patience_epochs, train.schedule_epochs) == (text, patience, epochs)
    assert (train.learning_rate, train.batch_size, train.warmup_fraction, train.adam_eps) == (rate, batch, 0.1, 1e-4)
    assert (train.max_grad_norm, train.input_noise, train.modality_dropout) == (None, 0, 0)
    assert (train.decoding, adapter.placement, adapter.pooling) == ("generate", "before_text", "last")
    assert (adapter.acoustic_hidden, adapter.facial_hidden) == (h_a, h_v)
    assert adapter.pseudo_tokens == (2 if (corpus, backbone) == ("meld", "qwen") else 4)
    width = 2048 if backbone == "qwen" else 4096
    made = MSEAdapter(AdapterConfig(acoustic_width=acoustic, facial_width=facial, text_width=width, settings=adapter))
    assert sum(p.numel() for p in made.parameters()) == parameters
    answer = label_text(paper.dataset.task, paper.backbone.explicit_plus).write(1.0)
    plus = "+" if backbone == "qwen" else ""
    assert answer == {"mosei": plus + "1.0", "simsv2": plus + "1.0", "meld": "1", "cherma": "1"}[corpus]


def test_preset_turns_off_every_switch_of_ours_whatever_files_say() -> None:
    """A setting that is described with the paper's value stands in the preset, and outweighs a corpus's own."""
    preset = config.read_yaml(ROOT / "config/presets/paper.yaml")
    turned = {"adapter": {"pooling": "attention"}, "train": {"label_spread": 0.3, "adam_eps": 1e-7}}
    for section, settings in (("adapter", config.AdapterSettings), ("train", config.TrainSettings)):
        ours = {key for key, field in settings.model_fields.items() if "paper" in (field.description or "")}
        assert ours <= set(preset[section]) and len(ours) >= 6
    main = experiment("demo", "smollm2", preset)
    main = replace(main, dataset=main.dataset.model_copy(update=turned))
    for section in ("adapter", "train"):
        made, wanted = getattr(main, section), type(getattr(main, section))(**preset[section])
        assert {key: getattr(made, key) for key in preset[section]} == wanted.model_dump(include=set(preset[section]))


def test_variants_apply_where_they_change_something_and_leave_something() -> None:
    def applying(corpus: str, backbone: str = "smollm2", **said: object) -> set[str]:
        main = experiment(corpus, backbone, said)
        every = {name: config.load_variant(EVERY, name) for name in config.known_names(EVERY, "variants")}
        return {name for name, variant in every.items() if replace(main, variant=variant).applies}

    every = set(config.known_names(EVERY, "variants"))
    as_it_is = {f"{main.adapter.placement.replace('_', '-')}" for main in [experiment("demo", "smollm2")]}
    assert applying("demo") == every - as_it_is
    assert applying("ravdess") == every - as_it_is - {
        "picture-only",
        "without-picture",
        "exact-labels",
        "products-only",  # which its file says, and so it does
    }
    assert "tokens-2" not in applying("meld", "qwen")
    assert "without-picture" not in applying("demo", adapter={"modalities": ["acoustic", "text"]})
    assert "picture-only" in applying("demo", adapter={"modalities": ["acoustic", "text"]})


def test_variants_have_no_names_of_other_rows(tmp_path: Path) -> None:
    run = EVERY.model_copy(update={"config_path": [tmp_path]})
    (tmp_path / "variants").mkdir()
    (tmp_path / "variants/linear.yaml").write_text("description: mine\n")
    with pytest.raises(UserError, match=r"linear\.yaml: a variant can't be named linear"):
        config.load_variant(run, "linear")
    with pytest.raises(UserError, match=r"no zeroshot\.yaml in .*; there is .*text-only.*, linear, zero-shot"):
        config.load_variant(EVERY, "zeroshot")
    with pytest.raises(ValueError, match=r"baselines = .*: a name stands there twice"):
        config.Config(baselines=["linear", "linear"])


def test_paper_stands_beside_ours_as_a_variant() -> None:
    preset = config.read_yaml(ROOT / "config/presets/paper.yaml")
    variant = config.load_variant(EVERY, "paper")
    assert (variant.adapter, variant.train) == (preset["adapter"], preset["train"])
    published = config.AdapterSettings(**preset["adapter"])
    assert {key: getattr(published, key) for key in PUBLISHED} == PUBLISHED


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


def test_null_said_as_text_is_none() -> None:
    """As Snakemake's --config says it."""
    said = {"acoustic": {"egemaps": "null", "emobase": {"feature_set": "emobase"}}, "seeds": ["1", "null"]}
    assert config.with_nulls(said) == {
        "acoustic": {"egemaps": None, "emobase": {"feature_set": "emobase"}},
        "seeds": ["1", None],
    }
    assert set(
        config.parse(config.Config, config.with_nulls({"acoustic": said["acoustic"]}), "--config").acoustic_sets
    ) == {"emobase"}
