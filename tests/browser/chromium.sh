#!/usr/bin/env bash
# The browser of the tests in this folder.
#
#   chromium.sh install    the package (Debian, root)
set -euo pipefail

case "${1:-}" in
  install)
    if ! command -v chromium > /dev/null; then
      apt-get update --quiet=2
      DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends chromium
    fi
    ;;
  *) sed --quiet '2,4s/^# \?//p' "$0" && exit 2 ;;
esac
