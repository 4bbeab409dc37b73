#!/bin/sh
# Starts a node with users.acl and valkey.conf of this folder. Its arguments are further options of the server.
# Passwords come from the environment: DATA_PASSWORD, ADMIN_PASSWORD, OPERATOR_PASSWORD, REPLICA_PASSWORD.
# What is written lies in the working folder: passwords as SHA-256, but for the one that this node logs in with.
set -eu
here=$(dirname "$0")
umask 077

sha256() { printf '%s' "$1" | sha256sum | cut -d ' ' -f 1; }

sed -e "s/@data@/$(sha256 "$DATA_PASSWORD")/" \
    -e "s/@admin@/$(sha256 "$ADMIN_PASSWORD")/" \
    -e "s/@operator@/$(sha256 "$OPERATOR_PASSWORD")/" \
    -e "s/@replica@/$(sha256 "$REPLICA_PASSWORD")/" \
    -e '/^#/d' -e '/^$/d' "$here/users.acl" >users.acl
printf 'masteruser replica\nmasterauth "%s"\naclfile "%s"\n' "$REPLICA_PASSWORD" "$PWD/users.acl" >private.conf

# The image's entry point gives up root.
# shellcheck disable=SC2086  # it is two words
exec ${VALKEY_SERVER:-docker-entrypoint.sh valkey-server} "$here/valkey.conf" --include "$PWD/private.conf" "$@"
