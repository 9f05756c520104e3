#!/usr/bin/env bash
# Train on a Slurm cluster; --help tells more.
. "$(dirname "$(readlink -f "$0")")/launch.sh"
check_arguments train.py slurm 'PARTITION JOB_NAME CONFIG WORK_DIR' "$@"
launch_slurm "$1" "$2" train.py "$3" --work-dir="$4" "${@:5}"
