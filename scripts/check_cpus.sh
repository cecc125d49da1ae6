#!/usr/bin/env bash
# The quick numeric tests as on other processors: with the kernels for the oldest and for AVX2 processors and with this one's own, on
# one thread and on two.
#
#     scripts/check_cpus.sh                      # about 3 minutes on 2 cores
#     scripts/check_cpus.sh tests/test_cohort.py # these files instead
set -euo pipefail
cd "$(dirname "$0")/.."
numeric=("$@")
if [ $# -eq 0 ]; then
    numeric=(tests/functional tests/tasks tests/balancing tests/modules tests/test_stacking.py tests/test_cohort.py)
    numeric+=(tests/objectives/test_feature_training.py tests/objectives/test_training.py)
fi

export OMP_WAIT_POLICY=PASSIVE # threads that spin beside another worker's take many times as long; it changes no bit

check() { # threads, and which kernels of ATen and oneDNN
    echo "== $1 thread(s), ${*:2}"
    env OMP_NUM_THREADS="$1" "${@:2}" "${VENV:-.venv}/bin/pytest" -n 2 --dist worksteal \
        -m "not slow and not full" "${numeric[@]}"
}

check 2 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41
check 1 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
check 2 # this processor's own
