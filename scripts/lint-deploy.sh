#!/usr/bin/env bash
# Checks what is deployed, without deploying it: Dockerfile, compose file, Kubernetes manifests, the proxies' files, the systemd unit,
# and all shell scripts. scripts/test-deps.sh installs the tools.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/target/test-venv/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Debian keeps servers' programs out of the path of plain users.
PATH=$PATH:/usr/sbin:/sbin

# Runs a check; what it says is shown only when it fails.
check() {
    local name=$1 status
    shift
    # Not within an if: there a function would go on after a command that failed.
    set +e
    (
        set -e
        "$@"
    ) > "$work/out" 2>&1
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        cat "$work/out" >&2
        echo "lint-deploy: $name: failed" >&2
        exit 1
    fi
    echo "lint-deploy: $name: ok"
}

# The files as they are installed, but for what this machine lacks: the certificate, and ports that need root.
check_nginx() {
    local site=$work/nginx/site.conf
    mkdir "$work/nginx" "$work/nginx/snippets"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
        -keyout "$work/nginx/privkey.pem" -out "$work/nginx/fullchain.pem"
    cp deploy/nginx/ark-lattice-proxy.conf "$work/nginx/snippets/"
    sed -e "s#/etc/letsencrypt/live/ark.example.org#$work/nginx#" -e '/listen \[::\]/d' -e 's/listen 80;/listen 127.0.0.1:18080;/' \
        -e 's/listen 443 /listen 127.0.0.1:18443 /' deploy/nginx/ark-lattice.conf > "$site"
    printf 'pid nginx.pid;\nevents {}\nhttp {\n%s\ninclude site.conf;\n}\n' \
        "$(printf '%s_temp_path %s;\n' client_body c proxy p fastcgi f uwsgi u scgi s)" > "$work/nginx/nginx.conf"
    # As it is, and with the prefix that it has as an example.
    nginx -t -q -p "$work/nginx" -c nginx.conf -e error.log
    sed -i -e 's/^    #\(location\|    \|}\)/    \1/' "$site"
    grep -q '^    location /ark/' "$site"
    nginx -t -q -p "$work/nginx" -c nginx.conf -e error.log
}

check_haproxy() {
    haproxy -c -q -f deploy/haproxy/haproxy.cfg
}

check_caddy() {
    export XDG_DATA_HOME=$work XDG_CONFIG_HOME=$work HOME=$work
    caddy validate --adapter caddyfile --config deploy/caddy/Caddyfile
    ! caddy fmt --diff deploy/caddy/Caddyfile | grep '^[+-]'
}

# systemd wants the program to be there. The bound is ten times the exposure that it reports: 0 is best, 10.0 worst.
check_systemd() {
    sed -e "s#/usr/local/bin/ark-lattice#$(command -v true)#" deploy/systemd/ark-lattice.service > "$work/ark-lattice.service"
    systemd-analyze verify --man=no "$work/ark-lattice.service" 2>&1 | tee "$work/verify"
    [ ! -s "$work/verify" ]
    systemd-analyze security --no-pager --offline=true --threshold=15 "$work/ark-lattice.service"
}

manifests=()
for file in deploy/kubernetes/*.yaml; do
    # For kubectl, not for the cluster.
    [ "$file" = deploy/kubernetes/kustomization.yaml ] || manifests+=("$file")
done

check "Dockerfile (hadolint)" "$venv/hadolint" --failure-threshold info Dockerfile
check "docker-compose.yml (schema)" "$venv/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose.yml
check "YAML (yamllint)" yamllint --strict docker-compose.yml .yamllint.yaml deploy
check "Kubernetes (schema, strict)" "$venv/kubernetes-validate" --strict "${manifests[@]}"
check "nginx" check_nginx
check "Caddy" check_caddy
check "haproxy" check_haproxy
check "systemd" check_systemd
check "shell scripts (shellcheck)" shellcheck .ci/run scripts/*.sh deploy/*.sh
