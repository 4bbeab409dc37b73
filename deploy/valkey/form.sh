#!/bin/sh
# Makes one cluster of empty nodes, once: done before, it only waits until the cluster is well.
# Its arguments are the nodes, ADDRESS:PORT, masters first. OPERATOR_PASSWORD logs in; REPLICAS is 1 unless it is set.
set -eu
cli=${VALKEY_CLI:-valkey-cli}
replicas=${REPLICAS:-1}
export VALKEYCLI_AUTH="$OPERATOR_PASSWORD" REDISCLI_AUTH="$OPERATOR_PASSWORD"
first=$1

ask() {
    node=$1
    shift
    "$cli" --user operator -h "${node%:*}" -p "${node##*:}" "$@" 2>/dev/null || true
}
connected() { [ "$replicas" = 0 ] || ask "$1" info replication | grep -Eq '^master_link_status:up|^slave0:.*state=online'; }
well() { ask "$1" cluster info | grep -q '^cluster_state:ok' && connected "$1"; }

for node in "$@"; do
    until ask "$node" cluster info | grep -q '^cluster_state:'; do sleep 1; done
done
if ask "$first" cluster info | grep -q '^cluster_known_nodes:1.$'; then
    "$cli" --user operator --cluster create "$@" --cluster-replicas "$replicas" --cluster-yes
fi
for node in "$@"; do
    until well "$node"; do sleep 1; done
done
echo "the cluster is well"
