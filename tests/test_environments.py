"""The ways to install agree: pyproject.toml, environment.yml, Containerfile, README."""

import re
import tomllib

import yaml

from mse.errors import SYSTEM_PACKAGES
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_conda_environment_has_the_packages_of_the_project() -> None:
    described = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert described["name"] == PROJECT["name"]
    plain = [entry for entry in described["dependencies"] if isinstance(entry, str)]
    (pip,) = (entry["pip"] for entry in described["dependencies"] if isinstance(entry, dict))
    assert sorted(pip) == sorted(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["demo"])
    assert PROJECT["requires-python"] == ">=3.11" and plain == ["python=3.11", "pip", "ffmpeg"]


def test_every_rule_may_run_in_an_environment_of_its_own() -> None:
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        text = path.read_text()
        rules = re.split(r"^(?:rule|checkpoint) \w+:$", text, flags=re.MULTILINE)[1:]
        assert all('conda:\n        "../../environment.yml"' in rule for rule in rules), path


def test_container_has_the_system_libraries_of_the_readme() -> None:
    def installed(text: str) -> set[str]:
        (packages,) = re.findall(r"apt-get install -y ((?:--no-install-recommends )?[\w .-]+)", text)[:1]
        return set(packages.split()) - {"--no-install-recommends"}

    recipe = (ROOT / "Containerfile").read_text()
    assert (
        installed(recipe) == installed((ROOT / "README.md").read_text()) == {"python3-venv", *SYSTEM_PACKAGES.split()}
    )
    copied = re.findall(r"^COPY (.*) \S+$", recipe, flags=re.MULTILINE)
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    assert {f"!{name}" for names in copied for name in names.split()} == {n for n in ignored if n.startswith("!")}
