#!/usr/bin/env bash
# Installs the one service that the tests start themselves: Debian's PostgreSQL server. Does nothing when it is there.
set -euo pipefail

have_server() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

if have_server; then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "the registry's tests need a PostgreSQL server: install one so that /usr/lib/postgresql/*/bin/initdb exists" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "the registry's tests need a PostgreSQL server: run 'apt-get install postgresql' as root" >&2
    exit 1
  fi
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -y -q --no-install-recommends postgresql
have_server
