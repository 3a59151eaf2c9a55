#!/bin/busybox sh
# shellcheck shell=dash
# Replays a trace on the guest's GPU, and hands on what `granule replay` found: replay.sh TRACE [OPTION...].
# replays.py reads it.
granule replay --quiet --device "$GRANULE_DEVICE" --json /tmp/replay.json "$@"
code=$?
# Packed: what a port of the guest is given in one piece must stay below 64 KiB, and what a driver left mapped fills more.
printf '@granule {"replay": "%s"}\n' "$(gzip </tmp/replay.json | base64 | tr -d '\n')"
exit $code
