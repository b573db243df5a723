#!/bin/bash
# Before a pod ends (its preStop): no new replicas here, those that are here move elsewhere, and the pod waits until
# their answers are complete. `drain-node SECONDS`: for how long at most. Exit code 0 always: a pod ends in any case.
set -u
seconds=$1
health=${DRAIN_NODE_HEALTH:-http://127.0.0.1:52365/api/healthz}
step=${DRAIN_NODE_STEP_SECONDS:-2}
# What a hook prints is lost: its words go where the container's own go.
log=${DRAIN_NODE_LOG:-/proc/1/fd/1}

say() { echo "drain-node: $*" >>"$log"; }

# Ray's word for a machine that is about to be taken away. Serve then starts replicas on others first.
if ! timeout 60 ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "the pod is asked to end" \
  --deadline-remaining-seconds "$seconds"; then
  say "Ray did not take the wish: running answers may break off"
  exit 0
fi
# A machine that is drained and has nothing left to do ends by itself. One that is only busy may miss a question.
end=$((SECONDS + seconds)) missed=0
while ((SECONDS < end)); do
  if python -c "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)" "$health" 2>/dev/null; then
    missed=0
  elif ((++missed == 3)); then
    say "nothing is left here"
    exit 0
  fi
  sleep "$step"
done
say "answers were still running after $seconds seconds"
