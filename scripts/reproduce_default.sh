#!/usr/bin/env bash
# The table of the README: the default job over seeds, one teacher for all; about 6 minutes on 2 cores.
#   scripts/reproduce_default.sh            seeds 0,1,2
#   scripts/reproduce_default.sh 0,1,2,3,4  others; further words go to kd run
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-0,1,2}
shift || true
kd=.venv/bin/kd
[ -x "$kd" ] || kd=kd
exec "$kd" run -m seed="$seeds" "$@"
