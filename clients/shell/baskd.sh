#!/bin/sh
# baskd.sh: calls a baskd daemon from the shell, with nothing but socat and POSIX sh (and its awk, grep, ls).
#
#   As a script:   baskd.sh call increment by=5        As functions:   . ./baskd.sh
#                  baskd.sh stream testStream                          baskd_call increment '{"by":5}'
#
# How it reads JSON without a JSON parser: it does not have to. A reply is one line, and the daemon writes the
# members around a value always in the same way: {"jsonrpc":"2.0","id":1,"result":VALUE}. The id is the one sent here.
# So the value is what stands between a known beginning and a known end, whatever it holds. Only an error's message
# is looked into, and that stands first: {"code":NUMBER,"message":STRING….
#
# How it cancels: one connection carries one call, and a connection that is gone cancels its calls. Ctrl-C ends socat
# with the shell, for it goes to the whole process group; so does `timeout 5 baskd.sh …`. A `kill` that is meant for
# the script's process alone is not passed on: send it to the group, as in `kill -TERM -PID`.
#
# How it starts a daemon: a call that finds nobody at the socket runs `baskd start`, which waits until a daemon listens,
# and is then made again; nothing of it had left. A connection that is lost later is not made again: the call may have
# run. --no-start, or BASKD_START=0, leaves it at an error. What a daemon that stops says it has not begun is asked once
# more, of the next one: where something else holds the socket (systemd), it waits there until that one comes.
#
# Exit status: 0 done; 1 the method raised, or was cancelled; 2 usage, or an unknown method or parameter;
# 3 no daemon reached; 4 the backend crashed or is unavailable; 5 timed out.

# --- what it offers --------------------------------------------------------------------------------------------------

# Options, before a method: --timeout DURATION; --json; --no-start; --controller CONTROLLER, which is what to start;
# --traceparent CONTEXT and --tracestate LIST, W3C's, by default $TRACEPARENT and $TRACESTATE where these are well-formed.

# baskd_call [OPTION…] METHOD [PARAMS]: prints the result.
# PARAMS: JSON, an object or an array; or key=value (a JSON scalar where it reads as one, else text) and key:=JSON; or -,
# which reads JSON from stdin.
baskd_call() {
    baskd__options "$@" || return
    shift "$baskd__shift"
    [ $# -gt 0 ] || { baskd__usage 'call needs a method'; return; }
    baskd__params "$@" || return
    if [ -n "$baskd__timeout$baskd__traceparent" ]; then
        baskd__request rpc.call "$(baskd__call_options "$1")"
    else
        baskd__request "$1" "$baskd__params"
    fi
}

# baskd_stream [OPTION…] METHOD [PARAMS]: prints a line of JSON for each partial result, and last the
# return value, unless that is null.
baskd_stream() {
    baskd__options "$@" || return
    shift "$baskd__shift"
    [ $# -gt 0 ] || { baskd__usage 'stream needs a method'; return; }
    baskd__params "$@" || return
    baskd__stream "$(baskd__call_options "$1")"
}

# baskd_get NAME: prints a property.
baskd_get() {
    baskd__options "$@" || return
    shift "$baskd__shift"
    [ $# -eq 1 ] || { baskd__usage 'get needs a name'; return; }
    baskd__request getProperty "{\"name\":$(baskd__quote "$1")}"
}

# baskd_set NAME VALUE: sets a property, and prints its value. VALUE is a JSON scalar where it reads as one, else text.
baskd_set() {
    baskd__options "$@" || return
    shift "$baskd__shift"
    [ $# -eq 2 ] || { baskd__usage 'set needs a name and a value'; return; }
    baskd__request setProperty "{\"name\":$(baskd__quote "$1"),\"value\":$(baskd__scalar "$2")}"
}

# baskd_methods: what can be called (OpenRPC), as JSON. baskd_status: what the daemon does, if there is one.
baskd_methods() { baskd__options "$@" && baskd__request rpc.discover ''; }
baskd_status() { baskd__options "$@" && baskd__start=0 && baskd__request daemon.status ''; }

# baskd_restart: replaces Python by a new one, and waits until that is ready.
baskd_restart() { baskd__options "$@" && baskd__start=0 && baskd__request daemon.restart ''; }

# baskd_socket [NAME]: prints the path of the socket, whether or not a daemon is there.
baskd_socket() { baskd__locate "$@" && printf '%s\n' "$baskd__path"; }

# --- requests and replies --------------------------------------------------------------------------------------------

# The whole of stdin is one request. Its end half-closes the connection, on which the daemon closes it after the last
# answer, and that ends socat; -t is how long it would wait for that, and says a year. If there is no connection, so
# that nothing has left, prints "unconnected: " and why.
baskd__send() {
    # In a path, socat takes these characters for its own.
    baskd__address=$(printf '%s\n' "$baskd__path" | sed 's/[][\\:,!"'\''(){}]/\\&/g')
    {
        if [ -n "$2" ]; then
            printf '{"jsonrpc":"2.0","id":1,"method":%s,"params":%s}\n' "$(baskd__quote "$1")" "$2"
        else
            printf '{"jsonrpc":"2.0","id":1,"method":%s}\n' "$(baskd__quote "$1")"
        fi 2>/dev/null 3>&- |
            LC_ALL=C socat -t 31536000 - "UNIX-CONNECT:$baskd__address" 2>&1 >&3 3>&- | baskd__refused >&3 3>&-
    } 3>&1
}

# Reads what socat says of itself.
baskd__refused() {
    while IFS= read -r baskd__line; do
        case $baskd__line in
            *' connect('*'): '*) printf 'unconnected: %s\n' "${baskd__line##*: }" ;;
        esac
    done
}

# METHOD PARAMS: prints the result, or says what went wrong.
baskd__request() {
    baskd__path || return
    baskd__reply=$(baskd__send "$1" "$2") || : # what it says tells more, and `set -e` must not end a caller here
    if baskd__nobody "$baskd__reply"; then
        baskd__started || return
        baskd__reply=$(baskd__send "$1" "$2") || :
    fi
    if baskd__not_begun "$baskd__reply"; then
        baskd__reply=$(baskd__send "$1" "$2") || :
        if baskd__nobody "$baskd__reply"; then
            baskd__started 2>/dev/null || { baskd__never_began; return; }
            baskd__reply=$(baskd__send "$1" "$2") || :
        fi
    fi
    case $baskd__reply in
        '{"jsonrpc":"2.0","id":1,"result":'*'}')
            baskd__reply=${baskd__reply#'{"jsonrpc":"2.0","id":1,"result":'}
            printf '%s\n' "${baskd__reply%'}'}"
            ;;
        *) baskd__no_result "$baskd__reply" ;;
    esac
}

# PARAMS of stream.call: prints what comes.
baskd__stream() {
    baskd__path || return
    baskd__status=0
    baskd__send stream.call "$1" | baskd__events again || baskd__status=$?
    if [ "$baskd__status" = 100 ]; then
        baskd__started || return
        baskd__status=0
        baskd__send stream.call "$1" | baskd__events again || baskd__status=$?
    fi
    if [ "$baskd__status" = 101 ]; then
        baskd__status=0
        baskd__send stream.call "$1" | baskd__events again || baskd__status=$?
        if [ "$baskd__status" = 100 ]; then
            baskd__started 2>/dev/null || { baskd__never_began; return; }
            baskd__status=0
            baskd__send stream.call "$1" | baskd__events '' || baskd__status=$?
        fi
    fi
    case $baskd__status in
        100) baskd__no_daemon; return 3 ;;
        101) baskd__never_began; return ;;
    esac
    return "$baskd__status"
}

# Reads a stream's lines. With "again", gives 100 if nobody was there to be asked for it, 101 if a daemon that stops has
# not begun it.
baskd__events() {
    IFS= read -r baskd__line || baskd__line=
    if [ -n "$1" ] && baskd__nobody "$baskd__line"; then return 100; fi
    if [ -n "$1" ] && baskd__not_begun "$baskd__line"; then return 101; fi
    baskd__again=$1
    case $baskd__line in
        '{"jsonrpc":"2.0","id":1,"result":'*'}') ;;
        *) baskd__no_result "$baskd__line"; return ;;
    esac
    baskd__id=${baskd__line#'{"jsonrpc":"2.0","id":1,"result":'}
    baskd__head="{\"jsonrpc\":\"2.0\",\"method\":\"stream.item\",\"params\":{\"subscription\":${baskd__id%'}'},\"result\":"
    while IFS= read -r baskd__line; do
        baskd__event=${baskd__line#"$baskd__head"}
        baskd__event=${baskd__event%'}}'}
        case $baskd__event in
            '{"item":'*)
                baskd__again='' # it has begun
                baskd__event=${baskd__event#'{"item":'}
                printf '%s\n' "${baskd__event%'}'}" || return 0 # whoever read it has seen enough
                ;;
            '{"end":null}') return 0 ;;
            '{"end":'*)
                baskd__event=${baskd__event#'{"end":'}
                printf '%s\n' "${baskd__event%'}'}"
                return 0
                ;;
            '{"error":'*)
                if [ -n "$baskd__again" ] && baskd__not_begun "$baskd__event"; then return 101; fi
                baskd__event=${baskd__event#'{"error":'}
                baskd__error "${baskd__event%'}'}"
                return
                ;;
        esac
    done
    baskd__no_result ''
}

# What came instead of a result.
baskd__no_result() {
    case $1 in
        # A request that the daemon could not read has no id.
        '{"jsonrpc":"2.0","id":1,"error":'*'}') baskd__rest=${1#'{"jsonrpc":"2.0","id":1,"error":'} ;;
        '{"jsonrpc":"2.0","id":null,"error":'*'}') baskd__rest=${1#'{"jsonrpc":"2.0","id":null,"error":'} ;;
        '' | unconnected:*)
            if ! command -v socat >/dev/null 2>&1; then
                baskd__say "socat is missing: install it, for example with \`apt install socat\`"
            elif [ -z "$1" ]; then
                baskd__say "the daemon at $baskd__path has gone before it answered: the call may have run, or not"
            elif baskd__nobody "$1"; then
                baskd__no_daemon
            else
                baskd__say "$baskd__path can't be connected to: ${1#unconnected: }"
            fi
            return 3
            ;;
        *) baskd__say "what answers at $baskd__path is no baskd: $1"; return 3 ;;
    esac
    baskd__error "${baskd__rest%'}'}"
}

baskd__no_daemon() { baskd__say "no daemon answers at $baskd__path: start one with \`baskd serve\`${1-}"; }

# Whether that reply, or that result of a stream's event, says that a daemon stops and has not begun the call. It is one
# from its beginning: what a method gives may hold the same words further on, and that call has run.
baskd__not_begun() {
    case $1 in
        '{"jsonrpc":"2.0","id":1,"error":{"code":-32024,'*'"data":{"by":"shutdown","ran":"no"}}}') ;;
        '{"error":{"code":-32024,'*'"data":{"by":"shutdown","ran":"no"}}}') ;;
        *) return 1 ;;
    esac
}

# What is said where no other daemon came for it.
baskd__never_began() {
    baskd__error '{"code":-32024,"message":"The daemon stops, and has not begun the call: make it again once the next one runs.","data":{"by":"shutdown","ran":"no"}}'
}

# --- starting a daemon -----------------------------------------------------------------------------------------------

# Whether that reply says that no daemon was there, so that nothing of the request has left.
baskd__nobody() {
    case $1 in
        'unconnected: No such file or directory' | 'unconnected: Connection refused') ;;
        *) return 1 ;;
    esac
}

# Has a daemon started where none was; says why if it can't be.
baskd__started() {
    if [ "$baskd__start" = 0 ]; then
        baskd__no_daemon
        return 3
    fi
    baskd__bin=$(baskd__find_bin) || {
        baskd__no_daemon " (install it with \`cargo install --path crates/baskd\`, or name it in BASKD_BIN)"
        return 3
    }
    if ! command -v "$baskd__bin" >/dev/null; then
        baskd__no_daemon "; BASKD_BIN names $baskd__bin, which can't be run"
        return 3
    fi
    set -- --socket "$baskd__path"
    [ -z "$baskd__name" ] || set -- "$@" --name "$baskd__name"
    # The daemon outlives all that runs here: it is to hold none of its descriptors.
    baskd__status=0
    baskd__said=$(exec 2>&1 >/dev/null </dev/null 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
        exec "$baskd__bin" start "$@" ${baskd__controller:+"$baskd__controller"}) || baskd__status=$?
    baskd__said=${baskd__said#baskd: }
    case $baskd__status,$baskd__said in
        0,*) return 0 ;;
        2,'nothing to start'*) baskd__no_daemon "; $baskd__said"; return 3 ;;
        [1-5],*) ;;
        *) baskd__status=3 ;;
    esac
    baskd__say "no daemon could be started for $baskd__path: ${baskd__said:-$baskd__bin said nothing}"
    return "$baskd__status"
}

# Prints the path of baskd: $BASKD_BIN, else the one on the PATH, else one that was built beside this file.
baskd__find_bin() {
    if [ -n "${BASKD_BIN-}" ]; then
        printf '%s\n' "$BASKD_BIN"
        return
    fi
    baskd__bin=$(command -v baskd) || baskd__bin=
    case $baskd__bin in */*) printf '%s\n' "$baskd__bin"; return ;; esac
    # Where this file is read by `.`, only its caller knows where it is.
    case ${0##*/} in baskd.sh) ;; *) return 1 ;; esac
    baskd__dir=$(dirname "$(readlink -f -- "$0")")
    for baskd__bin in "$baskd__dir/../../target/release/baskd" "$baskd__dir/../../target/debug/baskd"; do
        if [ -x "$baskd__bin" ]; then printf '%s\n' "$baskd__bin"; return; fi
    done
    return 1
}

# --- errors ----------------------------------------------------------------------------------------------------------

# An error object: one sentence, or with --json all of it, to stderr; and the status for its code.
baskd__error() {
    if [ -n "${baskd__json-}" ]; then
        printf '%s\n' "$1" >&2
    else
        baskd__say "$(printf '%s\n' "$1" | baskd__message)"
    fi
    baskd__code=${1#'{"code":'}
    case ${baskd__code%%[!0-9-]*} in
        -32700 | -32600 | -32601 | -32602 | -32028 | -32007 | -32010) return 2 ;;
        -32027 | -32009) return 3 ;;
        -32021 | -32022 | -32025 | -32006) return 4 ;;
        -32023) return 5 ;;
        *) return 1 ;;
    esac
}

# The message of an error object. Escapes beyond ASCII stay as they are: they are for a person who reads.
baskd__message() {
    LC_ALL=C awk '{
        sub(/^\{"code":-?[0-9]+,"message":"/, "")
        text = ""
        while (length($0) > 0 && substr($0, 1, 1) != "\"") {
            # As much as has no escape, at once.
            if (match($0, /^[^"\\]+/)) { text = text substr($0, 1, RLENGTH); $0 = substr($0, RLENGTH + 1); continue }
            c = substr($0, 2, 1)
            if (c == "n" || c == "r") text = text "\n"
            else if (c == "t") text = text "\t"
            else if (c == "u") { text = text substr($0, 1, 6); $0 = substr($0, 7); continue }
            else text = text c
            $0 = substr($0, 3)
        }
        print text
    }'
}

baskd__say() { printf 'baskd.sh: %s\n' "$1" >&2; }
baskd__usage() { baskd__say "$1; see baskd.sh --help"; return 2; }

# --- from words to JSON ----------------------------------------------------------------------------------------------

# The options that stand before a method; baskd__shift says how many words they are.
baskd__options() {
    baskd__timeout='' baskd__json='' baskd__shift=0 baskd__traceparent='' baskd__tracestate=''
    baskd__start=${BASKD__START:-${BASKD_START-}} baskd__controller=${BASKD__CONTROLLER-}
    while [ $# -gt 0 ]; do
        case $1 in
            --json) baskd__json=1 baskd__shift=$((baskd__shift + 1)); shift ;;
            --no-start) baskd__start=0 baskd__shift=$((baskd__shift + 1)); shift ;;
            --controller)
                [ -n "${2-}" ] || { baskd__usage '--controller needs a value'; return; }
                baskd__controller=$2 baskd__shift=$((baskd__shift + 2))
                shift 2
                ;;
            --timeout)
                [ $# -gt 1 ] || { baskd__usage '--timeout needs a duration'; return; }
                baskd__timeout=$(baskd__milliseconds "$2") ||
                    { baskd__usage "$2 is no duration: 250ms, 30s, 5m or a number of seconds is"; return; }
                baskd__shift=$((baskd__shift + 2))
                shift 2
                ;;
            --traceparent | --tracestate)
                [ -n "${2-}" ] || { baskd__usage "$1 needs a value"; return; }
                case $1 in
                    --traceparent) baskd__traceparent=$2 ;;
                    --tracestate) baskd__tracestate=$2 ;;
                esac
                baskd__shift=$((baskd__shift + 2))
                shift 2
                ;;
            --) baskd__shift=$((baskd__shift + 1)); break ;;
            -*) baskd__usage "there is no option $1"; return ;;
            *) break ;;
        esac
    done
    [ -n "$baskd__traceparent" ] || [ -z "${TRACEPARENT-}" ] || baskd__inherit
}

# Takes the trace context of the environment. What is malformed there is nobody's mistake here, and left out; of a flag's,
# the daemon says what is wrong with it.
baskd__inherit() {
    baskd__is "$TRACEPARENT" \
        '^(00|(0[1-9a-f]|[1-9a-e][0-9a-f]|f[0-9a-e]))-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?$' || return 0
    if baskd__is "$TRACEPARENT" '^(00-.{53}|..-0{32}-|.{35}-0{16}-)'; then return 0; fi
    baskd__traceparent=$TRACEPARENT
    if [ -z "$baskd__tracestate" ] && baskd__is "${TRACESTATE-}" '^[ -~]+$'; then baskd__tracestate=$TRACESTATE; fi
}

# Whether TEXT is one line, of 512 bytes at most, that an extended regular expression matches.
baskd__is() {
    case $1 in *'
'*) return 1 ;; esac
    [ "${#1}" -le 512 ] && printf '%s\n' "$1" | LC_ALL=C grep -Eq -e "$2"
}

# 250ms, 30s, 5m or a number of seconds.
baskd__milliseconds() {
    printf '%s\n' "$1" | LC_ALL=C awk '
        NR > 1 || !/^[0-9]+(\.[0-9]+)?(ms|s|m)?$/ { bad = 1; exit }
        { each = /ms$/ ? 1 : /m$/ ? 60000 : 1000; sub(/[ms]+$/, ""); all = $0 * each }
        END { if (bad || all > 1e15) exit 1; printf "%.0f\n", all < 1 ? 1 : all }'
}

# METHOD: the params of rpc.call and stream.call.
baskd__call_options() {
    printf '{"method":%s' "$(baskd__quote "$1")"
    [ -z "$baskd__params" ] || printf ',"params":%s' "$baskd__params"
    [ -z "$baskd__timeout" ] || printf ',"timeout_ms":%s' "$baskd__timeout"
    [ -z "$baskd__traceparent" ] || printf ',"traceparent":%s' "$(baskd__quote "$baskd__traceparent")"
    [ -z "$baskd__traceparent" ] || [ -z "$baskd__tracestate" ] ||
        printf ',"tracestate":%s' "$(baskd__quote "$baskd__tracestate")"
    printf '}'
}

# METHOD PARAMS…: sets baskd__params.
baskd__params() {
    baskd__params=''
    shift
    case $#,${1-} in
        0,) return 0 ;;
        1,-) baskd__params=$(cat); return ;;
        1,'{'* | 1,'['* | 1,[[:space:]]*) baskd__params=$1; return ;;
    esac
    for baskd__word in "$@"; do
        # Which of = and := comes first decides, so that both may stand in a value.
        baskd__key=${baskd__word%%=*}
        case $baskd__word in
            =* | :=*) baskd__usage "$baskd__word has no key"; return ;;
            *=*) ;;
            *) baskd__usage "$baskd__word is neither JSON nor key=value nor key:=JSON"; return ;;
        esac
        case $baskd__key in
            *:) baskd__value=${baskd__word#*=} baskd__key=${baskd__key%:} ;;
            *) baskd__value=$(baskd__scalar "${baskd__word#*=}") ;;
        esac
        baskd__params="$baskd__params${baskd__params:+,}$(baskd__quote "$baskd__key"):$baskd__value"
    done
    baskd__params="{$baskd__params}"
}

# A word as JSON: a number, true, false, null or a quoted string as it is, all else as a string.
baskd__scalar() {
    case $1 in
        true | false | null) printf '%s' "$1"; return ;;
        *'
'*) ;; # grep would look at each of its lines
        -[0-9]* | [0-9]* | '"'*)
            if printf '%s\n' "$1" | LC_ALL=C grep -Eq \
                -e '^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$' \
                -e '^"([^"\\[:cntrl:]]|\\(["\\/bfnrt]|u[0-9a-fA-F]{4}))*"$'; then
                printf '%s' "$1"
                return
            fi
            ;;
    esac
    baskd__quote "$1"
}

# Text as a JSON string.
baskd__quote() {
    case $1 in
        *[!A-Za-z0-9_./\ -]*)
            # The x keeps newlines at the end, which awk could not tell from none.
            printf '%sx\n' "$1" | LC_ALL=C awk '
                BEGIN { for (i = 1; i < 32; i++) escape[sprintf("%c", i)] = sprintf("\\u%04x", i); printf "\"" }
                NR > 1 { print_escaped(last); printf "\\n" }
                { last = $0 }
                END { print_escaped(substr(last, 1, length(last) - 1)); printf "\"" }
                function print_escaped(text,    out) {
                    out = ""
                    while (match(text, /["\\\001-\037]/)) {
                        c = substr(text, RSTART, 1)
                        out = out substr(text, 1, RSTART - 1) (c in escape ? escape[c] : "\\" c)
                        text = substr(text, RSTART + 1)
                    }
                    printf "%s", out text
                }'
            ;;
        *) printf '"%s"' "$1" ;;
    esac
}

# --- the socket: "Connecting" in PROTOCOL.md -------------------------------------------------------------------------

# Sets baskd__path, and refuses a folder that somebody else could put a socket into.
baskd__path() { baskd__locate && baskd__folder "${baskd__path%/*}"; }

# [NAME]: sets baskd__path. BASKD__SOCKET and BASKD__NAME hold what --socket and --name gave: they beat the environment.
baskd__locate() {
    baskd__name=${1-${BASKD__NAME-}}
    if [ -n "${BASKD__SOCKET-}" ]; then
        baskd__name=${baskd__name:-${BASKD_NAME-}}
        baskd__path=$BASKD__SOCKET
    elif [ -z "$baskd__name" ] && [ -n "${BASKD_SOCKET-}" ]; then
        baskd__name=${BASKD_NAME-}
        baskd__path=$BASKD_SOCKET
    else
        baskd__name=${baskd__name:-${BASKD_NAME:-default}}
        case $baskd__name in
            [!A-Za-z0-9]* | *[!A-Za-z0-9_.-]* | ?????????????????????????????????*)
                baskd__usage "$baskd__name can't be an instance's name"; return ;;
        esac
        baskd__user=$(id -u)
        case ${XDG_RUNTIME_DIR-} in
            /*) baskd__path=$XDG_RUNTIME_DIR/baskd/$baskd__name.sock ;;
            *)
                if [ -d "/run/user/$baskd__user" ]; then
                    baskd__path=/run/user/$baskd__user/baskd/$baskd__name.sock
                else
                    baskd__path=/tmp/baskd-$baskd__user/$baskd__name.sock
                fi
                ;;
        esac
    fi
    case $baskd__path in /*) ;; *) baskd__path=$PWD/$baskd__path ;; esac
    if [ "$(printf '%s' "$baskd__path" | wc -c)" -gt 107 ]; then
        baskd__usage "$baskd__path is longer than the 107 bytes that a Unix socket's path may have"
        return
    fi
}

baskd__folder() {
    # A path that ends in /. or / would be looked at behind its link.
    baskd__dir=$1
    while :; do
        case $baskd__dir in
            ?*/) baskd__dir=${baskd__dir%/} ;;
            */.) baskd__dir=${baskd__dir%/.} ;;
            *) break ;;
        esac
    done
    if [ -h "$baskd__dir" ] || { [ -e "$baskd__dir" ] && [ ! -d "$baskd__dir" ]; }; then
        baskd__say "$baskd__dir has to be a folder and no link: remove it, then start the daemon"
        return 3
    fi
    [ -d "$baskd__dir" ] || return 0 # There is no socket, then; whoever starts a daemon makes it.
    # ls is the only portable way to its mode and owner; the fields before the name can't be forged by a name.
    baskd__mode=$(LC_ALL=C ls -ldn -- "$baskd__dir") || return 3
    # shellcheck disable=SC2086 # in words, on purpose, and with no name that could be a pattern
    set -- ${baskd__mode%%/*}
    case $1 in
        drwx------*) ;;
        *) baskd__say "$baskd__dir is open to others: chmod 700 $baskd__dir"; return 3 ;;
    esac
    baskd__user=$(id -u)
    if [ "$baskd__user" != 0 ] && [ "$3" != "$baskd__user" ]; then
        baskd__say "$baskd__dir belongs to user $3, not to you ($baskd__user): use a folder of yours"
        return 3
    fi
}

# --- as a script -----------------------------------------------------------------------------------------------------

baskd__help() {
    cat <<'HELP'
baskd.sh [--name NAME | --socket PATH] [--no-start] [--controller CONTROLLER] COMMAND

  call [--timeout 30s] [--json] METHOD [PARAMS]     prints the result
  stream [--timeout 30s] [--json] METHOD [PARAMS]   prints each partial result, and last the return value
  get NAME      set NAME VALUE                      a property
  methods       status         restart     socket   the daemon

If no daemon runs, these but status, restart and socket start one, by `baskd start`: for CONTROLLER, else for the one
in the instance's config. --no-start, or BASKD_START=0: they don't.
call and stream take --traceparent CONTEXT and --tracestate LIST, by default those of the environment.
PARAMS is JSON, or - for JSON from stdin, or key=value and key:=JSON. --json prints the whole error object.
Exit status: 0 done; 1 the method raised, or was cancelled; 2 usage, or an unknown method or parameter;
3 no daemon reached; 4 the backend crashed or is unavailable; 5 timed out.
HELP
}

baskd__main() {
    # What was given is not to be taken from the environment.
    BASKD__NAME='' BASKD__SOCKET='' BASKD__START='' BASKD__CONTROLLER=''
    while [ $# -gt 0 ]; do
        case $1 in
            --name | --socket | --controller)
                [ -n "${2-}" ] || { baskd__usage "$1 needs a value"; return; }
                case $1 in
                    --name) BASKD__NAME=$2 ;;
                    --socket) BASKD__SOCKET=$2 ;;
                    --controller) BASKD__CONTROLLER=$2 ;;
                esac
                shift 2
                ;;
            --no-start) BASKD__START=0; shift ;;
            -h | --help | help) baskd__help; return ;;
            *) break ;;
        esac
    done
    case ${1-} in
        call | stream | get | set | status | methods | restart | socket)
            baskd__command=$1
            shift
            "baskd_$baskd__command" "$@"
            ;;
        '') baskd__help >&2; return 2 ;;
        *) baskd__usage "there is no command $1" ;;
    esac
}

# Run, rather than read by `.`, which leaves the name of the shell or of the caller's script here.
case ${0##*/} in
    baskd.sh) baskd__main "$@" ;;
esac
