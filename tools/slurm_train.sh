#!/usr/bin/env bash
# Usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of
# tools/train.py]; GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS by environment.
set -eu

export PYTHONPATH="$(dirname "$0")/..:${PYTHONPATH:-}"

PARTITION=$1
JOB_NAME=$2
CONFIG=$3
WORK_DIR=$4

# shellcheck disable=SC2086  # SRUN_ARGS is several words
srun -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    --gres=gpu:"${GPUS_PER_NODE:-8}" \
    --ntasks="${GPUS:-8}" \
    --ntasks-per-node="${GPUS_PER_NODE:-8}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$CONFIG" \
    --work-dir="$WORK_DIR" --launcher=slurm "${@:5}"
