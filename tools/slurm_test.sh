#!/usr/bin/env bash
# Test on a Slurm cluster; --help tells more.
. "$(dirname "$(readlink -f "$0")")/launch.sh"
check_arguments test.py slurm 'PARTITION JOB_NAME CONFIG CHECKPOINT' "$@"
launch_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"
