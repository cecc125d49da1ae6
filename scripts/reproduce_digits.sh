#!/usr/bin/env bash
# The digits table of the README: 100 labels, five seeds (labeled rows, start, order), one teacher for all.
set -euo pipefail
exec "$(dirname "$0")/reproduce_default.sh" "${1:-0,1,2,3,4}" experiment="${2:-digits}"
