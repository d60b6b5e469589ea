#!/bin/sh
# A run is well while it writes: some file below the folder is younger than an hour.
# usage: healthcheck.sh [FOLDER [MINUTES]]
set -eu
[ -n "$(find "${1:-/out}" -type f -mmin "-${2:-60}" -print -quit)" ]
