#!/usr/bin/env bash
# Writes the locks anew: versions and hashes for Python 3.11 and newer, without index addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() {
  local output=$1
  shift
  uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --no-annotate --no-header --group build "$@" --output-file "envs/$output" --quiet --upgrade
}
lock requirements.txt
lock requirements-dev.txt --group dev
lock requirements-peers.txt --group peers
lock requirements-cuda12.txt --extra cuda12
lock requirements-cuda13.txt --extra cuda13
lock requirements-slurm.txt --extra slurm
lock requirements-htcondor.txt --extra htcondor
lock requirements-cluster-generic.txt --extra cluster-generic
