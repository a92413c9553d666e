#!/usr/bin/env bash
# Snakemake runs this in the environment that it made for `--sdm conda`, from the project's folder.
set -euo pipefail
python -m pip install --no-deps --editable .
