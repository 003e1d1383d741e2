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
# The first process speaks for all of them. When one fails, the others have five
# seconds to end by themselves, and its status is that of the command. Ctrl-C
# and SIGTERM reach all of them: a run saves and stops, and a second time it
# leaves at once. On Linux none outlives this script, however it ends. Needs
# bash 5.1 or newer.
#
#   DEVICES=1            virtual devices of each process, on CPUs
#   JAX_PLATFORMS=cpu    with cuda, process i has GPU i: see launch/gpu.sh
#   PYTHON=.venv/bin/python   the interpreter
#   PORT=                of the first process; by default a free one
#   RESTARTS=0           how often all are started again after a failure; a
#                        run then goes on from its newest checkpoint
set -euo pipefail

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
}

say() {
  echo "launch/local_cluster.sh: $*" >&2
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  '' | *[!0-9]* | 0) usage >&2; exit 2 ;;
esac
[ $# -ge 2 ] || { usage >&2; exit 2; }
restarts=${RESTARTS:-0}
case "$restarts" in
  *[!0-9]*) say "RESTARTS=$restarts is not a number"; exit 2 ;;
esac

count=$1
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || {
  say "no $python; launch/local.sh makes it"
  exit 1
}
# The kernel ends the processes with this script, even where that is killed.
bound=()
! command -v setpriv >/dev/null || bound=(setpriv --pdeathsig KILL)

# So nobody is left to say it where this script is killed, but one who waits
# for a line that comes at an orderly end.
if [ ${#bound[@]} -gt 0 ]; then
  exec {orderly}> >(
    trap '' INT TERM HUP
    read -r || say "was killed, and its $count processes with it; the same" \
      "command goes on from the newest checkpoint"
  )
  trap 'echo >&"$orderly"' EXIT
fi

export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
export JAX_CPU_COLLECTIVES_IMPLEMENTATION=gloo
export JAX_NUM_CPU_DEVICES=${DEVICES:-1}
export JAX_NUM_PROCESSES=$count

# With groups of their own, the processes hear of Ctrl-C from here alone: two
# signals would mean to leave at once.
set -m
pids=()
stopping=
trap 'stopping=1; kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT

# A process, which must not keep open what says that this script ended.
run() {
  [ ${#bound[@]} = 0 ] || exec {orderly}>&-
  exec "${bound[@]}" "$python" -m "$@"
}

start() {
  local free='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))'
  local port=${PORT:-$("$python" -c "$free; print(s.getsockname()[1])")} i
  export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port
  pids=()
  for ((i = 0; i < count; i++)); do
    export JAX_PROCESS_ID=$i
    [ "$JAX_PLATFORMS" = cpu ] || export CUDA_VISIBLE_DEVICES=$i
    run "$@" </dev/null &
    pids+=($!)
  done
}

# Says which process ended with a failure, and gives the others a little time.
failed() {
  local pid=$1 how="ended with status $2" i
  [ "$2" -le 128 ] || how="was killed by SIG$(kill -l "$2")"
  for i in "${!pids[@]}"; do
    [ "${pids[i]}" != "$pid" ] ||
      say "process $((i + 1)) of $count $how; ending the others"
  done
  (
    [ ${#bound[@]} = 0 ] || exec {orderly}>&-
    trap - EXIT
    sleep 5
    kill -KILL "${pids[@]}" 2>/dev/null
  ) &
  killer=$!
  disown "$killer"
}

# Waits for all processes; the status of the first that failed, or 0.
finish() {
  local left=$count status=0 ended each killer=
  while [ "$left" -gt 0 ]; do
    each=0
    wait -f -n -p ended || each=$?
    if [ -z "${ended:-}" ]; then
      # A signal came, and its trap has passed it on; or none is left, because
      # bash has told of several that ended at once as if they were one.
      [ "$each" = 127 ] || continue
      for ended in "${pids[@]}"; do
        each=0
        wait "$ended" || each=$?
        if [ "$each" != 0 ] && [ "$status" = 0 ]; then
          status=$each
          failed "$ended" "$status"
        fi
      done
      break
    fi
    left=$((left - 1))
    if [ "$each" != 0 ] && [ "$status" = 0 ]; then
      status=$each
      failed "$ended" "$status"
    fi
  done
  [ -z "$killer" ] || kill -KILL -- "-$killer" 2>/dev/null || true
  return "$status"
}

for ((again = 1; ; again++)); do
  start "$@"
  # A signal may have come before there was anybody to pass it on to.
  [ -z "$stopping" ] || kill -TERM "${pids[@]}" 2>/dev/null || true
  status=0
  finish || status=$?
  if [ "$status" = 0 ] || [ "$stopping" ] || [ "$again" -gt "$restarts" ]; then
    exit "$status"
  fi
  say "starting all of them again, $again of $restarts times"
done
