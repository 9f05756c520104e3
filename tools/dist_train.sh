#!/usr/bin/env bash
# Train with torchrun; --help tells more.
. "$(dirname "$(readlink -f "$0")")/launch.sh"
check_arguments train.py dist 'CONFIG GPUS' "$@"
launch_dist "$2" train.py "$1" "${@:3}"
