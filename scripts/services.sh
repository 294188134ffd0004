#!/usr/bin/env bash
# Installs the two programs that the tests start themselves: Debian's PostgreSQL server, and Chromium for the fleet report's
# page. Does nothing when they are there.
set -euo pipefail

have_server() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
have_browser() { command -v chromium >/dev/null; }

missing=()
have_server || missing+=(postgresql)
have_browser || missing+=(chromium fonts-dejavu-core)
if [ "${#missing[@]}" -eq 0 ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "the tests need a PostgreSQL server (/usr/lib/postgresql/*/bin/initdb) and Chromium (chromium): install them" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "the tests need programs: run 'apt-get install ${missing[*]}' as root" >&2
    exit 1
  fi
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"
have_server
have_browser
