#!/usr/bin/env bash
# Test with torchrun; --help tells more.
. "$(dirname "$(readlink -f "$0")")/launch.sh"
check_arguments test.py dist 'CONFIG CHECKPOINT GPUS' "$@"
launch_dist "$3" test.py "$1" "$2" "${@:4}"
