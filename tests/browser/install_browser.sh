#!/usr/bin/env bash
# Installs Chromium from the distribution's packages, where there is none yet.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
  if found=$(command -v "$name"); then
    echo "$found is there already"
    exit 0
  fi
done
if ! command -v apt-get >/dev/null; then
  echo "no apt-get here: install Chromium as your system does, or name a browser of its kind:" >&2
  echo "  make docs-test EAPC_BROWSER=/path/to/chromium" >&2
  exit 1
fi
as_root=$([ "$(id -u)" = 0 ] || echo sudo)
$as_root apt-get update -qq
$as_root apt-get install -y -q --no-install-recommends chromium fonts-liberation
