#!/usr/bin/env bash
# A client for ark-lattice in one file: bash 4, openssl 3, curl and jq.
#
#   ark-lattice.sh keygen --out ark.key
#   ark-lattice.sh publish --to http://localhost:9001 --key ark.key --dir lattice_data --node-id ark-1
#   ark-lattice.sh discover --from http://localhost:9001
#   ark-lattice.sh pull --from http://localhost:9001 --dir lattice_copy
#
# Exit codes, those of the ark-lattice command: 0 done; 1 failed here; 2 wrong usage; 3 refused by the service (4xx), or it is none;
# 4 it cannot be reached or failed (5xx): may be tried again; 5 something was refused here.
set -euo pipefail
export LC_ALL=C

readonly TYPE=application/vnd.ark-lattice.manifest+json
# PKCS#8 around an Ed25519 seed (RFC 8410).
readonly PKCS8=302e020100300506032b657004220420
# The service takes no node that is nested deeper.
readonly JSON_DEPTH=64

json=false timeout=30 ca_file='' key='' out='' dir='' to='' from='' seq='' dry_run=false print_secret=false
node_id=${ARK_NODE_ID:-} instance_type=${ARK_INSTANCE_TYPE:-local}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

# For jq: text of a stranger's as people may read it. What cannot be seen, or changes what is seen, is shown as an escape, as
# src/types/printable.rs of the service has it.
# shellcheck disable=SC2016 # What looks like a variable is one of jq's.
readonly PRINTABLE='
    def hex: [recurse(if . >= 16 then . / 16 | floor else empty end) % 16] | reverse | map("0123456789abcdef"[.:. + 1]) | add;
    def unprintable: [[0, 31], [127, 160], [173, 173], [847, 847], [1564, 1564], [4447, 4448], [5760, 5760], [6068, 6069], [6155, 6159],
        [8192, 8207], [8232, 8239], [8287, 8303], [10240, 10240], [12288, 12288], [12644, 12644], [57344, 63743], [65024,
        65039], [65279, 65279], [65440, 65440], [65520, 65532], [78896, 78911], [78913, 78914], [94180, 94180], [113824,
        113827], [119129, 119129], [119155, 119162], [917504, 921599], [983040, 1114111]];
    def printable: tostring | explode | map(. as $c
        | if $c == 9 then "\\t" elif $c == 10 then "\\n" elif $c == 13 then "\\r"
          elif any(unprintable[]; .[0] <= $c and $c <= .[1]) then "\\u{\($c | hex)}" else [$c] | implode end) | add // "";'

# say EXIT MESSAGE [CODE]: the one line of a failure.
fail() {
    local message
    message=$(printf %s "$2" | jq -Rrs "$PRINTABLE printable")
    if $json; then
        jq -cn --arg error "$message" --argjson exit "$1" --arg code "${3:-}" \
            '{error: $error, exit_code: $exit, code: (if $code == "" then null else $code end)}' >&2
    else
        printf 'error: %s\n' "$message" >&2
    fi
    exit "$1"
}
usage() { fail 2 "$1; see --help"; }

# --- keys -----------------------------------------------------------------------------------------------------------

# The private key as PEM, in a file that goes with us. It is never an argument: those can be seen by others.
private_key() {
    local seed
    if [ -n "$key" ]; then
        [ -r "$key" ] || fail 1 "cannot read $key"
        seed=$(head -c 4096 "$key" | tr -d '\r\n ')
    else
        seed=${ARK_FED_PRIVKEY:-}
        [ -n "$seed" ] || fail 1 "no private key: give --key FILE or set ARK_FED_PRIVKEY"
    fi
    [ "$(printf %s "$seed" | openssl base64 -d -A 2> /dev/null | wc -c)" = 32 ] || fail 1 "the private key is not base64 of 32 bytes"
    {
        printf %b "$(printf %s "$PKCS8" | sed 's/../\\x&/g')"
        printf %s "$seed" | openssl base64 -d -A
    } | openssl pkey -inform DER -out "$work/key.pem" 2> /dev/null || fail 1 "the private key cannot be used"
}

public_key() { openssl pkey -in "$work/key.pem" -pubout -outform DER | tail -c 32 | openssl base64 -A; }

keygen() {
    [ -n "$out" ] || $print_secret || [ -t 1 ] ||
        usage "standard output is no terminal: give --out FILE, or --print-secret to print the private key all the same"
    openssl rand -base64 32 > "$work/seed"
    if [ -n "$out" ]; then
        (set -o noclobber && cat "$work/seed" > "$out") 2> /dev/null || fail 1 "$out exists already or cannot be written; a key is never overwritten"
    fi
    key="$work/seed"
    private_key
    if $json; then
        jq -cn --arg public "$(public_key)" '{public_key: $public}'
    else
        public_key
        printf '\n'
    fi
    [ -n "$out" ] || cat "$work/seed"
}

# --- nodes ----------------------------------------------------------------------------------------------------------

# The marks of a JSON text, one a line: brackets, braces, colons, and what stands between them; a string is S, whatever is in it. A
# string that is malformed keeps its quotes.
marks() {
    # U+007F counts as a control character for sed, but not for JSON; NUL ends a line for some.
    tr '\177\000' 'x\001' < "$1" | sed -E 's/"([^"\\[:cntrl:]]|\\(["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"/S/g; s/[][{}:]/ & /g' | tr ', \t\r' '\n'
}

# Is the file JSON as the service reads it? jq takes much that it does not: duplicate keys, halves of surrogate pairs, bytes that are
# not UTF-8, a byte order mark, numbers such as 01 and nan, several documents.
strict() {
    # jq replaces what is not UTF-8.
    jq -jRs . "$1" 2> /dev/null | cmp -s - "$1" || return 1
    marks "$1" > "$work/marks"
    if grep -qvE '^([][{}:]?|S|true|false|null|-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?)$' "$work/marks"; then return 1; fi
    awk '/^[[{]$/ { if (++depth > deepest) exit 1 } /^[]}]$/ { depth-- }' deepest="$JSON_DEPTH" "$work/marks" || return 1
    # Of equal keys jq keeps one: then there are fewer than colons.
    jq -es --argjson keys "$(grep -c '^:$' "$work/marks")" 'length == 1 and ([.. | objects | length] | add // 0) == $keys' "$1" > /dev/null 2>&1 || return 1
    # Whole pairs first; an escaped backslash may stand before a text that looks like one.
    sed -E 's/\\\\/x/g; s/\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}/x/g' "$1" > "$work/halves"
    ! grep -q '\\u[dD][89a-fA-F]' "$work/halves"
}

# The content hash of a file. jq rounds integers beyond 2^53 and writes fractions in its own way: a node that holds such a number has
# no hash here rather than a wrong one.
content_hash() {
    strict "$1" || return 1
    # Integers of up to 15 digits are the same in every form.
    if grep -qvE '^(.|true|false|null|-?[1-9][0-9]{0,14})?$' "$work/marks"; then
        return 2
    fi
    # RFC 8785 sorts keys by UTF-16, jq by code point: the same, but for keys beyond U+FFFF.
    if [ "$(jq '[.. | objects | keys[] | explode[] | select(. > 65535)] | length' "$1")" != 0 ]; then
        return 2
    fi
    # jq escapes U+007F; RFC 8785 does not. No byte 1 is in what jq writes.
    printf 'sha256:%s' "$(jq -cS . "$1" | tr -d '\n' | sed $'s/\\\\\\\\/\001/g; s/\\\\u007f/\177/g; s/\001/\\\\\\\\/g' | openssl dgst -sha256 -r | cut -d' ' -f1)"
}

hash_or_fail() {
    local hash status=0
    hash=$(content_hash "$1") || status=$?
    case $status in
    0) printf %s "$hash" ;;
    1) fail 1 "$1 is not JSON that the service takes; what is wrong with it says: ark-lattice node hash, or the Python or Node client" ;;
    *) fail 1 "$1 holds a number or a key that jq would write differently; hash it with: ark-lattice node hash, or the Python or Node client" ;;
    esac
}

file_hash() { openssl dgst -sha256 -r "$1" | cut -d' ' -f1; }

# The name of a node's file.
file_name() {
    local encoded
    encoded=$(printf %s "$1" | jq -sRr '@uri' | sed 's/~/%7E/g; s/%3A/:/g')
    case $1 in
    .*) encoded="%2E${encoded#.}" ;;
    manifest) encoded="%6Danifest" ;;
    esac
    # Longer than file systems take: cut between escapes, with the hash of the id.
    if [ ${#encoded} -gt 250 ]; then
        encoded=${encoded:0:185}
        encoded=${encoded%"%"}
        encoded=${encoded%"%"?}~$(printf %s "$1" | openssl dgst -sha256 -r | cut -d' ' -f1)
    fi
    printf '%s.json' "$encoded"
}

node_files() { find "$1" -maxdepth 1 -type f -name '*.json' ! -name '.*' ! -name manifest.json | sort; }

build() {
    [ -n "$1" ] || usage "name the directory"
    [ -d "$1" ] || fail 1 "$1 is not a directory"
    [ -n "$node_id" ] || usage "name the instance: --node-id ID or ARK_NODE_ID"
    [[ $seq =~ ^[0-9]{0,15}$ ]] || usage "--seq is a number"
    local file hash
    : > "$work/nodes"
    while IFS= read -r file; do
        hash=$(hash_or_fail "$file") || exit $?
        jq -c --arg hash "$hash" '{id, hash: $hash, type, updated_at} | with_entries(select(.value != null))' "$file" >> "$work/nodes"
    done < <(node_files "$1")
    jq -cs --arg id "$node_id" --arg type "$instance_type" --argjson now "$(date +%s)" --argjson seq "${seq:-null}" \
        '{node_id: $id, instance_type: $type, version: "1.0.0", last_updated: $now, nodes: .} + (if $seq then {seq: $seq} else {} end)' \
        "$work/nodes"
}

# Signs the manifest in the file $1: DSSE, its bytes as they are.
sign() {
    private_key
    {
        printf 'DSSEv1 %d %s %d ' ${#TYPE} "$TYPE" "$(wc -c < "$1")"
        cat "$1"
    } > "$work/pae"
    openssl pkeyutl -sign -rawin -inkey "$work/key.pem" -in "$work/pae" -out "$work/sig"
    openssl base64 -A -in "$1" > "$work/payload"
    jq -cn --rawfile payload "$work/payload" --arg type "$TYPE" --arg keyid "$(public_key)" --arg sig "$(openssl base64 -A -in "$work/sig")" \
        '{canonicalization: "dsse", payload: $payload, payloadType: $type, signatures: [{keyid: $keyid, sig: $sig}]}'
}

# --- the service ----------------------------------------------------------------------------------------------------

# request METHOD URL [BODY FILE] [ACCEPT]: the answer in $work/answer, its headers in $work/headers.
request() {
    local options=(--silent --show-error --request "$1" --url "$2" --connect-timeout 10 --max-time "$timeout" --output "$work/answer"
        --dump-header "$work/headers" --write-out '%{http_code}' --header "Accept: ${4:-application/json}")
    [ -z "${3:-}" ] || options+=(--header 'Content-Type: application/json' --data-binary "@$3")
    [ -z "$ca_file" ] || options+=(--cacert "$ca_file")
    case $2 in http://* | https://*) ;; *) usage "$2 is not an address such as http://localhost:9001" ;; esac
    local status code detail wait
    status=$(curl "${options[@]}" 2> "$work/curl") || fail 4 "${from:-${to:-$2}} cannot be reached: $(no_answer $? "${from:-${to:-$2}}")"
    [ "$status" = 200 ] && return
    code=$(jq -r '.code // ""' "$work/answer" 2> /dev/null) || code=''
    detail=$(jq -r '.detail // .title // ""' "$work/answer" 2> /dev/null) || detail=''
    wait=$(header retry-after)
    if [ "$status" -lt 500 ]; then
        fail 3 "refused with $status $code: ${detail:-no reason}" "$code"
    fi
    fail 4 "the service failed with $status $code: ${detail:-no reason}; try again${wait:+ in $wait s}" "$code"
}

# no_answer CURL'S EXIT CODE URL: why there is no answer, and what to do.
no_answer() {
    local other=http${2#https}
    case $2 in https://*) ;; *) other=https${2#http} ;; esac
    case $1 in
    6) echo 'the host name has no address; check its spelling' ;;
    7) echo 'connection refused: nothing listens there; check the port, or start the service: ark-lattice serve' ;;
    28) echo 'no answer in time; check the address, and that no firewall is between' ;;
    1 | 8) echo "it does not answer in HTTP: it may speak TLS; use $other" ;;
    35)
        if grep -qiE 'wrong version number|packet length too long|http request' "$work/curl"; then
            echo "it speaks plain HTTP, not TLS; use $other"
        else
            echo 'the two sides agree on no way to use TLS'
        fi
        ;;
    51 | 60)
        if grep -qiE 'does not match|no alternative certificate|subject name' "$work/curl"; then
            echo 'its certificate is for other names; use an address that the certificate names'
        elif grep -qi 'expired' "$work/curl"; then
            echo 'its certificate has expired; renew it there, or set the clock here: timedatectl set-ntp true'
        else
            echo 'its certificate is self-signed, or of an authority that is not trusted here; name it with --ca-file'
        fi
        ;;
    52 | 56) echo 'the connection ended before the answer did; try again' ;;
    *) echo "$(sed 's/^curl: ([0-9]*) //' "$work/curl" | head -1); try again" ;;
    esac
}

header() { tr -d '\r' < "$work/headers" | awk -v name="$1:" 'tolower($1) == name { $1 = ""; sub(/^ /, ""); print; exit }'; }

publish() {
    [ -n "$to" ] || usage "name the service: --to URL"
    if [ -n "$dir" ]; then build "$dir" > "$work/manifest"; elif [ -n "$1" ]; then cat -- "$1" > "$work/manifest"; else usage "name a manifest or --dir"; fi
    # Signed with the time, it counts for 24 hours, so nobody else can repeat it for longer. The rest stays as it is, byte for byte.
    if jq -e 'type == "object" and (has("issued_at") | not)' "$work/manifest" > /dev/null 2>&1; then
        { printf '{"issued_at": %d, ' "$(date +%s)"; LC_ALL=C awk '!d && (i = index($0, "{")) { $0 = substr($0, i + 1); d = 1 } { print }' "$work/manifest"; } > "$work/issued"
        mv "$work/issued" "$work/manifest"
    fi
    sign "$work/manifest" > "$work/envelope"
    request POST "${to%/}/manifest" "$work/envelope"
    if $json; then cat "$work/answer"; else jq -r "$PRINTABLE"'"\(.status) \(.node_id); expires in \(.expires_in) s" | printable' "$work/answer"; fi
}

discover() {
    [ -n "$from" ] || usage "name the service: --from URL"
    local cursor='' next
    : > "$work/peers"
    while :; do
        request GET "${from%/}/discover?limit=1000${cursor:+&cursor=$cursor}"
        jq -c '.peers[]' "$work/answer" >> "$work/peers" || fail 3 "$from does not answer as an ark-lattice service does"
        next=$(jq -r '.cursor // "" | @uri' "$work/answer")
        if [ -z "$next" ] || [ "$next" = "$cursor" ]; then break; fi
        cursor=$next
    done
    if $json; then
        jq -cs '{peers: ., count: length}' "$work/peers"
    else
        jq -r "$PRINTABLE"'[.node_id, .instance_type // "-", "\(.node_count) nodes", "\(.expires_in) s"] | map(printable) | join("\t")' "$work/peers"
    fi
}

# Which nodes are here, with the hashes of their files: the service takes these as well. What jq can hash goes with the content hash,
# which is the same in every formatting.
held() {
    local file hash
    while IFS= read -r file; do
        hash=$(content_hash "$file") || hash=$(file_hash "$file")
        jq -c --arg hash "$hash" 'select((.id | type) == "string") | {id, hash: $hash}' "$file" 2> /dev/null || true
    done < <(node_files "$dir")
}

# Do two files hold the same node? Where jq cannot say, only the same bytes are.
same() {
    local one two
    cmp -s "$1" "$2" && return
    one=$(content_hash "$1") && two=$(content_hash "$2") && [ "$one" = "$two" ]
}

# Keeps the file $2 of the directory $1, which is about to be replaced, as the service does. What was kept before is never replaced.
keep_overruled() {
    local file=$1/$2 folder=$1/.ark-overruled stem=$2 base kept number=1
    [ -e "$file" ] || return 0
    mkdir -p "$folder"
    [ ${#stem} -le 235 ] || stem=$(printf %s "$2" | openssl dgst -sha256 -r | cut -c 1-64)
    base=$stem~$(openssl dgst -sha256 -r < "$file" | cut -c 1-8)
    kept=$base
    while [ -e "$folder/$kept" ] && ! cmp -s "$file" "$folder/$kept"; do
        number=$((number + 1))
        kept=$base.$number
    done
    [ -e "$folder/$kept" ] || cp -p -- "$file" "$folder/$kept"
    sync "$folder/$kept" "$folder"
    kept_as=$((kept_as + 1))
}

pull() {
    [ -n "$from" ] || usage "name the service: --from URL"
    [ -d "$dir" ] || usage "name a directory that exists: --dir DIR"
    local cursor='' next expected line id name target temporary added=0 changed=0 unchanged=0 kept=0 refused=0 kept_as=0
    held > "$work/held"
    while :; do
        jq -cs --arg cursor "$cursor" '{nodes: .} + (if $cursor == "" then {} else {cursor: $cursor} end)' "$work/held" > "$work/request"
        request POST "${from%/}/sync" "$work/request" application/x-ndjson
        expected=$(header ark-delta-count)
        [[ $expected =~ ^[0-9]+$ ]] || fail 3 "$from does not answer as an ark-lattice service does: no Ark-Delta-Count"
        [ "$(wc -l < "$work/answer")" -le "$expected" ] || fail 3 "$from sends more nodes than it announced"
        [ -z "$(tail -c 1 "$work/answer")" ] || fail 4 "$from: the answer ends within a line; try again"
        while IFS= read -r line; do
            printf '%s\n' "$line" > "$work/line"
            id=$(strict "$work/line" && jq -er 'select(type == "object") | .id | select(type == "string" and length >= 1 and length <= 256 and (test("[\u0000-\u001f\u007f-\u009f]") | not))' "$work/line" 2> /dev/null) || {
                refused=$((refused + 1))
                printf 'refused: a line that is no node\n' >&2
                continue
            }
            name=$(file_name "$id")
            target=$dir/$name
            if [ -e "$target" ] && same "$target" "$work/line"; then
                unchanged=$((unchanged + 1))
                continue
            fi
            # The later of two versions stays; both must say when they were made.
            if [ -e "$target" ] && printf %s "$line" | jq -e --slurpfile mine "$target" \
                'def iso: capture("^(?<d>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?<m>[0-9]{2}:[0-9]{2})(?<s>:[0-9]{2})?(?<f>[.][0-9]+)?([Zz]|(?<g>[+-])(?<h>[0-9]{2}):(?<i>[0-9]{2}))?$")
                     | ("\(.d)T\(.m)\(.s // ":00")Z" | fromdate) + ("0\(.f // "")" | tonumber)
                       - (if .g then "\(.g)1" as $sign | ((.h | tonumber) * 3600 + (.i | tonumber) * 60) * ($sign | ltrimstr("+") | tonumber) else 0 end);
                 # Epoch seconds, epoch milliseconds from 10^11 on, ISO 8601 (UTC without an offset).
                 def at: .updated_at | if type == "number" then (if fabs >= 100000000000 then . / 1000 else . end)
                     elif type == "string" then (try iso catch null) else null end;
                 ($mine[0] | at) as $mine | at as $theirs | $mine != null and $theirs != null and $mine > $theirs' > /dev/null 2>&1; then
                kept=$((kept + 1))
                continue
            fi
            if [ -e "$target" ]; then changed=$((changed + 1)); else added=$((added + 1)); fi
            $dry_run && continue
            keep_overruled "$dir" "$name" || fail 1 "cannot write $dir/.ark-overruled"
            temporary=$(mktemp "$dir/.ark-XXXXXXXX.tmp")
            if ! { printf '%s\n' "$line" > "$temporary" && chmod 644 "$temporary" && sync "$temporary" && mv -f -- "$temporary" "$target"; }; then
                rm -f "$temporary"
                fail 1 "cannot write $target"
            fi
        done < "$work/answer"
        next=$(header ark-cursor)
        if [ -z "$next" ] || [ "$next" = "$cursor" ]; then break; fi
        cursor=$next
    done
    sync "$dir"
    if $json; then
        jq -cn --argjson added $added --argjson changed $changed --argjson unchanged $unchanged --argjson kept $kept --argjson refused $refused \
            --argjson kept_as $kept_as --argjson dry $dry_run \
            '{added: $added, changed: $changed, kept_as: $kept_as, unchanged: $unchanged, kept: $kept, refused: $refused, dry_run: $dry}'
    else
        printf '%d added, %d changed, %d unchanged, %d kept, %d refused\n' $added $changed $unchanged $kept $refused
        [ $kept_as -eq 0 ] || printf 'what was replaced is kept in %s/.ark-overruled\n' "$dir"
    fi
    [ $refused -eq 0 ] || exit 5
}

help() {
    cat << 'END'
usage: ark-lattice.sh COMMAND

  keygen [--out FILE | --print-secret]     make a key; prints the public key (without --out: the private one below it)
  build DIR --node-id ID [--seq N]         print the manifest of a directory
  sign MANIFEST.json [--key FILE]          print the envelope
  publish --to URL [--key FILE] (--dir DIR --node-id ID | MANIFEST.json)
  discover --from URL                      list the live peers
  pull --from URL --dir DIR [--dry-run]    bring what differs into DIR
  hash FILE                                print a node's content hash

All take --json; those that talk to a service take --timeout SECONDS (30) and --ca-file FILE (PEM).
ARK_FED_PRIVKEY, ARK_NODE_ID and ARK_INSTANCE_TYPE stand in for --key, --node-id and --instance-type.

Exit codes: 0 done, 1 failed here, 2 wrong usage, 3 refused by the service, 4 it cannot be reached or failed, 5 something was refused here
END
}

for tool in openssl curl jq; do command -v "$tool" > /dev/null || { printf 'error: %s is needed\n' "$tool" >&2; exit 1; }; done
[[ " $* " != *" --json "* ]] || json=true
positional=()
while [ $# -gt 0 ]; do
    case $1 in
    --json) ;;
    --dry-run) dry_run=true ;;
    --print-secret) print_secret=true ;;
    -h | --help)
        help
        exit 0
        ;;
    --out | --key | --dir | --to | --from | --seq | --timeout | --ca-file | --node-id | --instance-type)
        [ $# -gt 1 ] || usage "$1 takes a value"
        name=${1#--}
        printf -v "${name//-/_}" %s "$2"
        shift
        ;;
    --*) usage "there is no option $1" ;;
    *) positional+=("$1") ;;
    esac
    shift
done
[[ $timeout =~ ^[1-9][0-9]*$ ]] || usage "--timeout is a number of seconds"
case ${positional[0]:-} in
keygen) keygen ;;
build) build "${positional[1]:-}" ;;
sign)
    [ -r "${positional[1]:-}" ] || usage "name a manifest that can be read"
    sign "${positional[1]}"
    ;;
publish) publish "${positional[1]:-}" ;;
discover) discover ;;
pull) pull ;;
hash)
    [ -r "${positional[1]:-}" ] || usage "name a file that can be read"
    hash_or_fail "${positional[1]}"
    printf '\n'
    ;;
'') usage "name a command" ;;
*) usage "there is no command ${positional[0]}" ;;
esac
