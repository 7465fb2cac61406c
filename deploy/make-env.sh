#!/bin/sh
# Makes .env for docker-compose.yml out of .env.example: the id gets this machine's name and a random part, every other
# value that is empty there a fresh secret of 256 bits.
# Never overwrites: the password of a running Redis would be lost.
set -eu
cd "$(dirname "$0")/.."

if [ -e .env ]; then
    echo "make-env: .env exists already and is not overwritten" >&2
    exit 1
fi
umask 077
while IFS= read -r line; do
    case $line in
        '#'* | '') ;;
        ARK_NODE_ID=) line=${line}ark-$(uname -n | tr -cd 'A-Za-z0-9._-')-$(od -An -v -tx1 -N4 /dev/urandom | tr -d ' \n') ;;
        *=) line=$line$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n') ;;
    esac
    printf '%s\n' "$line"
done < .env.example > .env.new
mv .env.new .env
echo "make-env: .env holds fresh secrets and this installation's id; next: docker compose up --build --detach --wait"
