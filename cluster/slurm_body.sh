# Set above: job, roles, nodes, cpus, gpus (one entry per kind of node), label, spill_folder, wait_s and
# required (names of variables). With arguments, `sbatch slurm.sbatch COMMAND...` runs those instead of the profile's job.
set -euo pipefail
(($#)) || set -- "${job[@]}"

for name in "${required[@]}"; do
    [[ -n ${!name:-} ]] || { echo "error: $name is not set; export it before sbatch" >&2; exit 1; }
done

id=${SLURM_JOB_ID:?run this with sbatch}
cd "${SLURM_SUBMIT_DIR:-$PWD}"
state=${MOUSE_FACELIFT_STATE:-$HOME/.mouse-facelift}/slurm-$id # on storage that all nodes mount
temp=/tmp/ray-$id                                              # short: it becomes part of the paths of sockets
spill=$spill_folder/ray-spill-$id
install -d -m 700 "$state"

# Every job has its own token, readable by its owner alone, and its own ports: above Ray's workers (10002-19999) and
# below the system's ephemeral ones (32768 upwards).
(umask 077 && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$state/auth_token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$state/auth_token
base=$((20000 + id % 120 * 100))
ip=${HEAD_IP:-$(hostname -I | cut -d ' ' -f 1)} # HEAD_IP chooses another network, such as InfiniBand
export RAY_ADDRESS=$ip:$base

steps=()
driver=
place() { # KIND COUNT [SRUN-OPTION]: sets `where`, for srun to run a command once on each of so many nodes of a kind
    # A node that fails must not take the others along: Ray goes on without it.
    where=(--no-kill --kill-on-bad-exit=0 --wait=0 --nodes="$2" --ntasks="$2" --ntasks-per-node=1 ${3:+"$3"})
    # Since Slurm 22.05 a step does not inherit this from the job, and would be bound to one core.
    where+=(--cpus-per-task="${cpus[$1]}")
    ((${#roles[@]} == 1)) || where+=(--het-group="$1")
}
start_ray() { # KIND CPUS ray-start-options...: on the nodes of `where`, in a step that lasts as long as their Ray
    local kind=$1 offered=$2
    shift 2
    srun "${where[@]}" bash -c 'install -d -m 700 "$1" "$2" && shift 2 && exec "$@"' node "$temp" "$spill" \
        ray start --block --disable-usage-stats --temp-dir="$temp" --object-spilling-directory="$spill" \
        --num-cpus="$offered" --num-gpus="${gpus[kind]}" --labels="$label=${roles[kind]}" \
        --metrics-export-port=$((base + 3)) "$@" &
    steps+=($!)
}
run() { # COMMAND...: in the background, because bash hears a signal while it waits, but not while a command runs
    "$@" &
    driver=$!
    local status=0
    wait "$driver" || status=$?
    driver=
    return "$status"
}
finish() {
    local status=$?
    trap - EXIT TERM INT
    [[ -z $driver ]] || { kill "$driver" && wait "$driver"; } 2>/dev/null || true
    # Ends this job's Ray and nothing else: `ray stop` would end every Ray of this user on the node.
    for step in "${steps[@]}"; do kill "$step" 2>/dev/null || true; done
    for step in "${steps[@]}"; do wait "$step" 2>/dev/null || true; done
    if ((status)) && [[ -d $temp/session_latest/logs ]]; then
        cp -rL "$temp/session_latest/logs" "$state/logs" 2>/dev/null && echo "Ray's logs: $state/logs" >&2 || true
    fi
    rm -f -- "$state/auth_token"
    for kind in "${!roles[@]}"; do
        place "$kind" "${nodes[kind]}"
        timeout 60 srun "${where[@]}" rm -rf -- "$temp" "$spill" || true
    done
    exit "$status"
}
trap finish EXIT
# Slurm says so ahead of the time limit; the applications have resumable state on disk by then.
trap 'echo "slurm: the time limit is near, or the job was cancelled" >&2; exit 143' TERM
trap 'exit 130' INT

# Nobody else is on the node, so the head works too, but for two CPUs of its own.
first=${SLURMD_NODENAME:?run this with sbatch}
place 0 1 "--nodelist=$first"
start_ray 0 $((cpus[0] > 3 ? cpus[0] - 2 : 1)) --head --node-ip-address="$ip" --port="$base" \
    --dashboard-host=127.0.0.1 --dashboard-port=$((base + 1)) --ray-client-server-port=$((base + 2))

until ray status --address "$RAY_ADDRESS" >/dev/null 2>&1; do
    kill -0 "${steps[0]}" 2>/dev/null || { echo "error: Ray's head ended before it was up" >&2; exit 1; }
    ((SECONDS < wait_s)) || { echo "error: Ray's head is not up after $wait_s s" >&2; exit 1; }
    sleep 1
done

all=0
for kind in "${!roles[@]}"; do
    count=$((nodes[kind] - (kind == 0 ? 1 : 0)))
    all=$((all + nodes[kind]))
    ((count)) || continue
    ((kind)) && place "$kind" "$count" || place "$kind" "$count" "--exclude=$first"
    start_ray "$kind" "${cpus[kind]}" --address="$RAY_ADDRESS"
done
run python -m cluster.await_nodes --nodes "$all" --timeout-s "$wait_s"

echo "slurm: $all nodes up; running: $*"
status=0
run "$@" || status=$?
echo "slurm: the command ended with status $status"
exit "$status"
