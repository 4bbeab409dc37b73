#!/bin/sh
# Writes deploy/.env with fresh secrets for compose.yaml; keeps one that is there.
set -eu
cd "$(dirname "$0")"
if [ -e .env ]; then
    echo "deploy/.env is there already; remove it for new secrets" >&2
    exit 0
fi
umask 077
secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
{
    for name in DATA ADMIN OPERATOR REPLICA LEDGER_APP LEDGER_OWNER LEDGER_READ MYSQL_ROOT BROKER GRAFANA; do
        echo "${name}_PASSWORD=$(secret)"
    done
    echo "RECEIPT_KEYS=k1:$(secret)"
    for name in SELL ADMIN READ; do
        echo "${name}_KEY=$(secret)"
    done
} >.env
echo "wrote deploy/.env"
