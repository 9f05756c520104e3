#!/usr/bin/env bash
# Find a Python that the pinned stack supports and let it build the environment.
set -eu

for python in python3.11 python3.10 python3.9 python3.8 python3 python; do
    if "$python" -c 'import sys; sys.exit(not (3, 8) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null; then
        exec "$python" "$(dirname "$0")/setup_env.py" "$@"
    fi
done
echo 'setup_env: no Python 3.8 to 3.11 on the PATH; torch 2.1.2 and mmcv 2.1.0 support no other' >&2
exit 1
