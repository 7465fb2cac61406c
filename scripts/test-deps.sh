#!/usr/bin/env bash
# Installs what the tests need beside Rust, and only what is missing: redis-server (the registry's tests drive a real one),
# python3 with venv (CPython is the oracle for what is signed; the Python client is tested against the live service),
# curl and jq (the README's tour is run), a C compiler (some crates bring C code), and a venv with PyNaCl in target/test-venv.
#
# Progress goes to stderr. The only line on stdout is the path of the venv's python. Running it again does nothing and is quick.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly pynacl=1.6.2
venv=$PWD/target/test-venv

say() { echo "test-deps: $*" >&2; }
die() {
    say "$*"
    exit 1
}
have() { command -v "$1" > /dev/null 2>&1; }
# Debian splits venv from python3: the module is there, but what it needs to make a venv with pip is not.
can_make_venv() { have python3 && python3 -c 'import ensurepip, venv' 2> /dev/null; }

missing=()
have redis-server || missing+=(redis-server)
have curl || missing+=(curl ca-certificates)
have jq || missing+=(jq)
{ have cc && have make; } || missing+=(build-essential)
can_make_venv || missing+=(python3 python3-venv)

if [ "${#missing[@]}" -gt 0 ]; then
    have apt-get || die "please install: ${missing[*]} (names of Debian's packages; there is no apt-get here)"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || die "please install as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing ${missing[*]}"
    # RUNLEVEL=1 keeps Debian's redis-server from being started as a service where init scripts do that; systemd's units are
    # stopped below. The tests start servers of their own, on free ports.
    apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get)
    "${apt[@]}" update -qq < /dev/null >&2
    "${apt[@]}" install -qq -y --no-install-recommends "${missing[@]}" < /dev/null >&2
    if [[ " ${missing[*]} " == *" redis-server "* && -d /run/systemd/system ]]; then
        "${as_root[@]}" systemctl disable --quiet --now redis-server >&2 || say "redis-server's own service is still running"
    fi
    can_make_venv || die "python3 still cannot make a venv: the python3 that comes first in PATH lacks ensurepip"
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || die "python3 is older than 3.9: $(python3 --version)"

has_pynacl() { [ "$("$venv/bin/python" -c 'import nacl; print(nacl.__version__)' 2> /dev/null || true)" = "$pynacl" ]; }
if ! has_pynacl; then
    say "making $venv with PyNaCl $pynacl"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "pynacl==$pynacl" >&2
    has_pynacl || die "PyNaCl $pynacl does not work in $venv"
fi
echo "$venv/bin/python"
