#!/usr/bin/env bash
# The browser of the tests in this folder.
#
#   chromium.sh install    the package (Debian, root)
set -euo pipefail

case "${1:-}" in
  install)
    if command -v chromium > /dev/null; then exit; fi
    if [ "$(id -u)" != 0 ]; then
      echo "There is no chromium, and only root can install it: the tests in a browser are skipped." >&2
    else
      apt-get update --quiet=2
      DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends chromium
    fi
    ;;
  *) sed --quiet '2,4s/^# \?//p' "$0" && exit 2 ;;
esac
