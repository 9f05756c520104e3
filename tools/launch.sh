#!/usr/bin/env bash
# Shared by dist_train.sh, dist_test.sh, slurm_train.sh and slurm_test.sh, which
# source it. Each replaces itself by torchrun or srun, so that a signal to the
# script reaches the training.
set -eu
# SRUN_ARGS may have brackets, as in -w node[1-2], and is no pattern of files.
set -f

TOOLS="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
export PYTHONPATH="$TOOLS/..:${PYTHONPATH:-}"

fail() {
    printf '%s: %s\n' "$0" "$1" >&2
    exit 2
}

# check_arguments TOOL LAUNCHER "NAME ..." "$@": every name needs a value.
check_arguments() {
    local tool=$1 launcher=$2 names=$3 name
    shift 3
    for name in $names; do
        case "${1:-}" in
            -h | --help)
                printf 'Usage: %s\n\n' "$0 $names [options of $tool]"
                "help_$launcher" "$tool"
                exit ;;
            '' | -*)
                fail "$name is missing; usage: $0 $names [options of $tool]" ;;
        esac
        shift
    done
}

check_number() {
    [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 must be a number above 0, but is '$2'"
}

help_dist() {
    cat << EOF
Runs GPUS processes of $1 on this machine with torchrun, one on each GPU.
Without a GPU, the processes communicate through gloo. The options are shown
by: python $TOOLS/$1 --help

Environment variables:
  PORT or MASTER_PORT   port at which the processes meet (default: a free one;
                        with several machines, one that follows from
                        SLURM_JOB_ID, or else 29500)
  NNODES                number of machines (default: 1)
  NODE_RANK             number of this machine, from 0; needed if NNODES > 1
  MASTER_ADDR           address of machine 0; needed if NNODES > 1
$(help_interfaces)
EOF
}

help_slurm() {
    cat << EOF
Runs GPUS processes of $1 in a Slurm partition with srun, one on each GPU.
Without a GPU, the processes communicate through gloo. The options
are shown by: python $TOOLS/$1 --help

Environment variables:
  GPUS                  number of processes (default: 8)
  GPUS_PER_NODE         number of them on a node (default: GPUS, 8 at most)
  CPUS_PER_TASK         CPU cores of each process (default: 5)
  SRUN_ARGS             further options of srun, separated by spaces, such as
                        '--time=8:00:00 --mem=64G', or '--gres=none' for a
                        partition without GPUs
  PORT or MASTER_PORT   port at which the processes meet (default: one that
                        follows from the ids of the job and its step)
  MASTER_ADDR           address of process 0 (default: the job's first node)
$(help_interfaces)
EOF
}

help_interfaces() {
    cat << EOF
  NCCL_SOCKET_IFNAME    network interface between machines with GPUs, such as
                        eth0 (default: chosen by NCCL)
  GLOO_SOCKET_IFNAME    the same without (default: the one to MASTER_ADDR)
EOF
}

# All machines must agree on a port, so a free one serves a single machine only.
dist_port() {
    if [ -n "${PORT:-${MASTER_PORT:-}}" ]; then
        echo "${PORT:-$MASTER_PORT}"
    elif [ "$1" = 1 ]; then
        python -c 'import socket
with socket.socket() as s:
    s.bind(("", 0))
    print(s.getsockname()[1])'
    elif [ -n "${SLURM_JOB_ID:-}" ]; then
        echo $((10000 + SLURM_JOB_ID % 20000))
    else
        echo 29500
    fi
}

# launch_dist GPUS TOOL CONFIG [argument ...]
launch_dist() {
    local gpus=$1 tool=$2 nodes=${NNODES:-1} port
    shift 2
    check_number GPUS "$gpus"
    check_number NNODES "$nodes"
    if [ "$nodes" != 1 ] && [ -z "${NODE_RANK:+${MASTER_ADDR:-}}" ]; then
        fail "NNODES=$nodes needs NODE_RANK and MASTER_ADDR on each machine"
    fi
    port=$(dist_port "$nodes")
    exec python -m torch.distributed.run \
        --nnodes="$nodes" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="$port" \
        --nproc_per_node="$gpus" \
        "$TOOLS/$tool" "$1" --launcher pytorch "${@:2}"
}

# launch_slurm PARTITION JOB_NAME TOOL CONFIG [argument ...]
launch_slurm() {
    local partition=$1 name=$2 tool=$3 gpus=${GPUS:-8} per_node
    shift 3
    check_number GPUS "$gpus"
    per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    check_number GPUS_PER_NODE "$per_node"
    # Otherwise the tool derives one where it knows the job's id.
    if [ -n "${PORT:-}" ]; then
        export MASTER_PORT=$PORT
    fi
    # shellcheck disable=SC2086  # SRUN_ARGS is several words
    exec srun -p "$partition" \
        --job-name="$name" \
        --gres=gpu:"$per_node" \
        --ntasks="$gpus" \
        --ntasks-per-node="$per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} \
        python -u "$TOOLS/$tool" "$1" --launcher slurm "${@:2}"
}
