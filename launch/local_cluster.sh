#!/usr/bin/env bash
# Runs a module as several processes of one run, on this machine.
#
#   launch/local_cluster.sh N MODULE [FLAGS]
#   launch/local_cluster.sh 2 experiments.train --config.mesh.data=-1
#   launch/local_cluster.sh -h          shows this
#
# The processes find each other on the loopback interface. On CPUs, which is
# the default, they show that a run does not depend on how many there are: it
# is no faster. launch/local.sh installs what they need.
#
# The first process speaks for all of them. When one fails the others are ended,
# and its status is that of the command. Ctrl-C and SIGTERM reach all of them: a
# run saves and stops.
#
#   DEVICES=1            virtual devices of each process, on CPUs
#   JAX_PLATFORMS=cpu    with cuda, process i has GPU i: see launch/gpu.sh
#   PYTHON=.venv/bin/python   the interpreter
#   PORT=                of the first process; by default a free one
set -euo pipefail

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  '' | *[!0-9]* | 0) usage >&2; exit 2 ;;
esac
[ $# -ge 2 ] || { usage >&2; exit 2; }

count=$1
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || {
  echo "launch/local_cluster.sh: no $python; launch/local.sh makes it" >&2
  exit 1
}
free='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))'
port=${PORT:-$("$python" -c "$free; print(s.getsockname()[1])")}

export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
export JAX_CPU_COLLECTIVES_IMPLEMENTATION=gloo
export JAX_NUM_CPU_DEVICES=${DEVICES:-1}
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$count

pids=()
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' TERM
for ((i = 0; i < count; i++)); do
  export JAX_PROCESS_ID=$i
  [ "$JAX_PLATFORMS" = cpu ] || export CUDA_VISIBLE_DEVICES=$i
  "$python" -m "$@" &
  pids+=($!)
done

status=0
for ((left = count; left > 0; left--)); do
  ended=0
  wait -n || ended=$?
  if [ "$ended" != 0 ] && [ "$status" = 0 ]; then
    status=$ended
    kill -KILL "${pids[@]}" 2>/dev/null || true
  fi
done
exit "$status"
