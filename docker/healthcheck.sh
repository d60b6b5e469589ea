#!/bin/sh
# A run is healthy while it writes: some file below the folder was modified within the last hour.
# usage: healthcheck.sh [FOLDER [MINUTES]]
set -eu
[ -n "$(find "${1:-/out}" -type f -mmin "-${2:-60}" -print -quit)" ]
