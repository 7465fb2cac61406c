#!/usr/bin/env bash
# Installs what the tests need beside Rust, and only what is missing: redis-server (the registry's tests drive real ones),
# python3 with venv (CPython is the oracle for what is signed), node, openssl, curl and jq (the clients for scripts are tested
# against the live service), nginx, caddy and haproxy (the service stands behind them in tests), Chromium with its driver (Swagger UI is
# opened and pressed), util-linux (disks of the tests' own), iproute2 (networks of the tests' own), faketime (the clock is set back
# in a test), strace (syncs are counted), linters, a C compiler (some crates bring C code), and a venv in target/test-venv with tests/requirements.txt.
#
# Progress goes to stderr. The only line on stdout is the path of the venv's python. Running it again does nothing and is quick.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/target/test-venv
# Debian keeps servers' programs out of the path of plain users.
PATH=$PATH:/usr/sbin:/sbin

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
have openssl || missing+=(openssl)
have node || missing+=(nodejs)
have nginx || missing+=(nginx-light)
have caddy || missing+=(caddy)
{ have haproxy || [ -x /usr/sbin/haproxy ]; } || missing+=(haproxy)
{ have chromium && have chromedriver; } || missing+=(chromium chromium-driver)
have shellcheck || missing+=(shellcheck)
have yamllint || missing+=(yamllint)
have systemd-analyze || missing+=(systemd)
{ have unshare && have nsenter && have setpriv; } || missing+=(util-linux)
have ip || missing+=(iproute2)
have faketime || missing+=(faketime)
have strace || missing+=(strace)
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
    # RUNLEVEL=1 keeps Debian's packages from starting their servers where init scripts do that; systemd's units are stopped
    # below. The tests start servers of their own, on free ports.
    apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get)
    "${apt[@]}" update -qq < /dev/null >&2
    "${apt[@]}" install -qq -y --no-install-recommends "${missing[@]}" < /dev/null >&2
    if [ -d /run/systemd/system ]; then
        for service in redis-server nginx caddy haproxy; do
            [[ " ${missing[*]} " == *" $service"* ]] || continue
            "${as_root[@]}" systemctl disable --quiet --now "$service" >&2 || say "$service's own service is still running"
        done
    fi
    can_make_venv || die "python3 still cannot make a venv: the python3 that comes first in PATH lacks ensurepip"
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || die "python3 is older than 3.9: $(python3 --version)"

# The list that the venv was made from is kept in it: another list, another venv.
requirements=tests/requirements.txt
if ! cmp --silent "$requirements" "$venv/requirements.txt"; then
    say "making $venv with $requirements"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" >&2
    "$venv/bin/python" -c 'import nacl, cryptography, schemathesis, selenium, aiopenapi3' || die "the packages do not work in $venv"
    cp "$requirements" "$venv/requirements.txt"
fi
echo "$venv/bin/python"
