#!/usr/bin/env bash
# Checks licences, bans and sources of the dependency tree (deny.toml). Installs cargo-deny where the right version is not
# there: from source, as a debug build, because compiling it with optimisation takes many times longer than it ever runs.
#
# Advisories are left out: their database is a git repository, and this must work where only package registries are reached.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly version=0.20.2
tools=${CARGO_TARGET_DIR:-target}/tools
PATH=$tools/bin:$PATH

if [ "$(cargo-deny --version 2> /dev/null || true)" != "cargo-deny $version" ]; then
    echo "installing cargo-deny $version into $tools (about a minute on two cores)"
    cargo install --quiet --locked --debug --force --root "$tools" "cargo-deny@$version"
fi
exec cargo-deny --locked check --hide-inclusion-graph licenses bans sources
