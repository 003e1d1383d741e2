#!/usr/bin/env bash
# Trains on the GPUs of this machine, with one process for each.
#
#   EXTRAS=cuda13 launch/local.sh experiments.train --help    installs, once
#   launch/gpu.sh experiments.train --config.mesh.data=-1     all GPUs
#   GPUS=4 launch/gpu.sh MODULE [FLAGS]                       the first four
#   DETERMINISTIC=1 launch/gpu.sh MODULE [FLAGS]              resumes bit for bit
#   RESTARTS=3 launch/gpu.sh MODULE [FLAGS]                   again after failures
#
# One process that sees all GPUs, launch/local.sh with the same flags, computes
# the same and is simpler; several feed and verify in parallel.
# Several machines: launch/slurm.sbatch, or launch/gke.yaml.
set -euo pipefail

if [ $# -eq 0 ] || [ "$1" = -h ]; then
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
  exit 2
fi
if [ "${DETERMINISTIC:-0}" != 0 ]; then
  # Fixed orders of sums, and kernels that are not chosen by a race.
  export XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_deterministic_ops=true"
fi
count=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
JAX_PLATFORMS=cuda exec "$(dirname "$0")/local_cluster.sh" "$count" "$@"
