#!/usr/bin/env bash
# The quick numeric tests as on other processors: with the kernels for the oldest and for AVX2 processors, on one thread, and
# those that fork no process on two threads: a process forked after OpenMP has begun hangs with more than one.
#
#     scripts/check_cpus.sh                      # a few minutes on 2 cores
#     scripts/check_cpus.sh tests/training/together/test_one_fit.py  # these files instead
set -euo pipefail
cd "$(dirname "$0")/.."
alone=(tests/losses/functional tests/tasks tests/losses/test_training.py tests/losses/test_formulas.py)
numeric=("${alone[@]}" tests/losses/weighting tests/losses/test_feature_training.py tests/training/vectorized)
numeric+=(tests/training/together tests/training/test_{chunked_losses,compilation,distillation,sharding}.py)
if [ $# -gt 0 ]; then
    alone=("$@")
    numeric=("$@")
fi

export OMP_WAIT_POLICY=PASSIVE # threads that spin beside another worker's take many times as long; it changes no bit

check() { # threads, kernels of ATen, of oneDNN, files
    echo "== $1 thread(s), kernels: $2"
    env OMP_NUM_THREADS="$1" ATEN_CPU_CAPABILITY="$2" ONEDNN_MAX_CPU_ISA="$3" timeout 900 "${VENV:-.venv}/bin/pytest" \
        -n 2 --dist worksteal -m "not slow and not full" "${@:4}"
}

check 1 default SSE41 "${numeric[@]}"
check 1 avx2 AVX2 "${numeric[@]}"
check 2 default SSE41 "${alone[@]}"
check 2 avx2 AVX2 "${alone[@]}"
