#!/bin/sh
# Simulate a run over two hosts on one machine: two network namespaces with a virtual cable, and a torchrun in each.
# usage (as root): docker/two-hosts.sh fit --config csf_small.yaml --config multinode.yaml --trainer.devices=2
# env: PYTHON (default python), DEVICES per host (default 2)
set -eu
PYTHON=${PYTHON:-python}
DEVICES=${DEVICES:-2}
A=flows-a-$$
B=flows-b-$$
first='' second=''
clean() {
    for each in $first $second; do
        kill "$each" 2>/dev/null || true
        wait "$each" || true
    done
    ip netns del "$A" 2>/dev/null || true
    ip netns del "$B" 2>/dev/null || true
}
trap clean EXIT
trap 'exit 130' INT # a signal alone does not run the trap of EXIT in dash
trap 'exit 143' TERM
ip netns add "$A"
ip netns add "$B"
ip link add "va$$" netns "$A" type veth peer name "vb$$" netns "$B"
ip -n "$A" addr add 10.77.0.1/24 dev "va$$"
ip -n "$B" addr add 10.77.0.2/24 dev "vb$$"
for host in "$A" "$B"; do ip -n "$host" link set lo up; done
ip -n "$A" link set "va$$" up
ip -n "$B" link set "vb$$" up

agent() { # namespace, node rank, interface, arguments
    namespace=$1 rank=$2 interface=$3
    shift 3
    exec ip netns exec "$namespace" env GLOO_SOCKET_IFNAME="$interface" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" \
        "$PYTHON" -m torch.distributed.run --nnodes=2 --node-rank="$rank" --nproc-per-node="$DEVICES" \
        --master-addr=10.77.0.1 --master-port=29500 -m lightning_flows "$@"
}
agent "$B" 1 "vb$$" "$@" &
second=$!
agent "$A" 0 "va$$" "$@" & # a signal interrupts wait, but not a process in the foreground
first=$!
wait "$first"
wait "$second"
