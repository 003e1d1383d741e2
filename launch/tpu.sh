#!/usr/bin/env bash
# Runs a module on every host of a Cloud TPU slice, as one run.
#
#   ZONE=us-east5-a launch/tpu.sh NAME MODULE [FLAGS]
#   ZONE=us-east5-a launch/tpu.sh my-v5p-16 experiments.train \
#       --config.mesh.data=-1 --workdir=/mnt/shared/runs/mine
#
# NAME is a TPU VM, made for instance by
#   gcloud compute tpus tpu-vm create NAME --zone=ZONE \
#       --accelerator-type=v5p-16 --version=v2-alpha-tpuv5
# Every host clones or updates REPOSITORY, installs it with launch/local.sh,
# and starts one process, which learns of the others from the slice itself.
# The workdir, the model and the data must be on storage that all hosts mount.
# The same command goes on from the newest checkpoint after a preemption.
#
#   ZONE=         of the slice, required
#   REPOSITORY=   what to clone; by default the origin of this one
#   COMMIT=       what to check out; by default that of this one, as pushed
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
  exit 2
fi
: "${ZONE:?set ZONE, as in ZONE=us-east5-a}"
name=$1
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
repository=${REPOSITORY:-$(git remote get-url origin)}
commit=${COMMIT:-$(git rev-parse HEAD)}

printf -v command '%q ' "$@"
printf -v checkout 'git fetch --quiet %q && git checkout --quiet %q' \
  "$repository" "$commit"
gcloud compute tpus tpu-vm ssh "$name" --zone="$ZONE" --worker=all --command="
  set -e
  mkdir -p jaxrl_llm && cd jaxrl_llm && git init --quiet
  $checkout
  EXTRAS=tpu JAX_DISTRIBUTED=auto launch/local.sh $command"
