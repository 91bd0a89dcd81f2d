#!/bin/sh
# Tests baskd.sh, under each shell that is here, against the daemon $BASKD_BIN. Prints a line for each failure, and how
# many passed. Waits for events (it looks for them), never for a time to pass; ends only what it started.
# shellcheck disable=SC2016,SC1003 # much here is for another shell to expand
set -u
cd "$(dirname "$0")" || exit 2
: "${BASKD_BIN:?is to be the path of the daemon to test against}"
script=$PWD/../baskd.sh
passed=0 failed=0
real=$BASKD_BIN
python=${BASKD_TEST_PYTHON:-python3}

work=$(mktemp -d) # mode 0700
daemon=
# shellcheck disable=SC2317 # called by the trap
finish() {
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

unset BASKD_SOCKET BASKD_NAME BASKD_START BASKD_CONTROLLER TRACEPARENT TRACESTATE
export XDG_RUNTIME_DIR="$work/run" XDG_STATE_HOME="$work/state" XDG_CONFIG_HOME="$work/config"
mkdir -m 700 "$work/run"

cat >"$work/controller.py" <<'PY'
import os
import time

import baskd


class Controller:
    def __init__(self):
        self.ended = []

    def echo(self, params):
        return params

    def traced(self):
        return [baskd.traceparent(), baskd.tracestate()]

    def traces(self):
        yield baskd.traceparent()

    def fail(self, message="no"):
        raise ValueError(message)

    def items(self, items):
        yield from items
        return "end"

    def quiet(self, n):
        yield from range(n)

    def fails(self):
        yield 1
        raise ValueError("half-way")

    def wait(self, begun, name):
        """Writes that file when it has begun, then waits to be cancelled; so does every item of `waits`."""
        try:
            open(begun, "w").close()
            time.sleep(60)
        except baskd.Cancelled:
            self.ended.append(name)
            raise

    def waits(self, begun, name):
        try:
            yield "first"
            open(begun, "w").close()
            while True:
                time.sleep(0.005)
                yield None
        except baskd.Cancelled:
            self.ended.append(name)
            raise

    def rows(self, count):
        self.yielded = 0
        for n in range(count):
            self.yielded += 1
            yield [n, "x" * 200]

    def asked_for(self):
        return self.yielded

    def how_ended(self):
        return self.ended

    def die(self):
        os._exit(3)

    def stop(self):
        """Kills the daemon."""
        os.kill(os.getppid(), 9)
        time.sleep(60)
PY

# Daemons on one socket that something else holds, one after another: each takes one call and does as it is told.
cat >"$work/held.py" <<'PY'
import json
import os
import socket
import sys

path, *turns = sys.argv[1:]
REFUSAL = {"code": -32024, "message": "The daemon stops.", "data": {"by": "shutdown", "ran": "no"}}


def line(**members):
    return json.dumps({"jsonrpc": "2.0", **members}, separators=(",", ":")).encode() + b"\n"


def item(result):
    return line(method="stream.item", params={"subscription": 7, "result": result})


SAID = {
    "refuses": [line(id=1, error=REFUSAL)],
    "answers": [line(id=1, result={"a": 1})],
    # Results that look like a refusal: their calls have run.
    "mocks": [line(id=1, result={"error": REFUSAL})],
    "mocks_deeper": [line(id=1, result={"a": {"error": REFUSAL}})],
    "mocks_item": [line(id=1, result=7), item({"item": {"error": REFUSAL}}), item({"end": {"error": REFUSAL}})],
    "takes": [line(id=1, result=7), item({"error": REFUSAL})],
    "begins": [line(id=1, result=7), item({"item": 1}), item({"error": REFUSAL})],
    "streams": [line(id=1, result=7), item({"item": 5}), item({"end": None})],
}
with socket.socket(socket.AF_UNIX) as held:
    held.bind(path)
    held.listen()
    open(path + ".listens", "w").close()
    for number, turn in enumerate(turns):
        if number:
            # Nobody accepts yet: who comes now waits.
            open(path + ".gone", "w").close()
        connection, _ = held.accept()
        connection.recv(1 << 16)
        connection.sendall(b"".join(SAID[turn]))
        connection.close()
    os.unlink(path)
PY

# A `baskd` that does what $FAKE says, and writes down what it was asked for.
cat >"$work/baskd" <<'SH'
#!/bin/sh
echo "$*" >>"$FAKE_LOG"
ls "/proc/$$/fd" >"$FAKE_LOG.fds"
case ${FAKE-} in
    nothing) echo 'baskd: nothing to start: name a controller' >&2; exit 2 ;;
    fails) printf 'baskd: line 1 of x.toml\nis "wrong"\n' >&2; exit 2 ;;
    dies) echo 'baskd: it has died' >&2; exit 3 ;;
    killed) kill -9 $$ ;;
    lies) echo "$3"; exit 0 ;;
    starts)
        # As the real one does: in a session of its own, and not before it can be connected to.
        setsid "$FAKE_REAL" serve --socket "$3" "$FAKE_CONTROLLER" </dev/null >"$FAKE_LOG.serve" 2>&1 &
        echo $! >"$FAKE_LOG.pid"
        until socat -u OPEN:/dev/null "UNIX-CONNECT:$3" 2>/dev/null; do kill -0 $! || exit 3; done
        echo "$3"
        ;;
    *) echo "baskd: nobody asked for a start" >&2; exit 1 ;;
esac
SH
chmod +x "$work/baskd"
export BASKD_BIN="$work/baskd" FAKE_LOG="$work/asked" FAKE_REAL="$real" FAKE_CONTROLLER="$work/controller.py" FAKE=nothing

"$real" serve ${BASKD_TEST_PYTHON:+--python "$BASKD_TEST_PYTHON"} "$work/controller.py" >"$work/log" 2>&1 &
daemon=$!
tries=0
until [ -S "$work/run/baskd/default.sock" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ] || ! kill -0 "$daemon" 2>/dev/null; then
        echo "the daemon did not start:"; cat "$work/log"; exit 1
    fi
    sleep 0.05
done

# check NAME STATUS STDOUT STDERR-PATTERN COMMAND…
check() {
    check_name="$shell: $1" check_status=$2 check_out=$3 check_err=$4
    shift 4
    timeout 60 "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    # The x keeps what newlines there are at the end.
    out=$(cat "$work/out"; echo x) err=$(cat "$work/err")
    want=$check_out
    [ -z "$want" ] || want="$want
"
    # shellcheck disable=SC2254 # a pattern, on purpose
    case $err in $check_err) matches=yes ;; *) matches=no ;; esac
    if [ "$status" = "$check_status" ] && [ "$out" = "${want}x" ] && [ "$matches" = yes ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s\n  status %s, wanted %s\n  stdout %s\n  wanted %s\n  stderr %s\n  wanted %s\n' \
            "$check_name" "$status" "$check_status" "$out" "$want" "$err" "$check_err"
    fi
}

# The same for a function, in a script that reads baskd.sh by `.`.
sourced() {
    check "$1" "$2" "$3" "$4" "$shell" -euc '. "$1"; eval "$2"' sh "$script" "$5"
}

wait_for() { # FILE
    tries=0
    until [ -e "$1" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 400 ] || return 1
        sleep 0.05
    done
}

# NAME COMMAND…: runs it in a group of its own, as a terminal does; once its call has begun sends the group Ctrl-C, and
# then sees in the controller that the call was cancelled.
interrupted() {
    name=$1
    shift
    begun=$work/begun-$shell-$name
    # A shell has what it starts in the background ignore SIGINT; setsid's child gets it back from env.
    setsid env --default-signal=INT "$shell" "$script" "$@" "{\"begun\":\"$begun\",\"name\":\"$shell-$name\"}" \
        >"$work/out-int" 2>/dev/null &
    group=$!
    if ! wait_for "$begun"; then
        failed=$((failed + 1)); echo "FAILED $shell: $name did not begin"; kill -KILL "-$group"; return
    fi
    kill -INT "-$group"
    wait "$group"
    # The cancel was ahead of this call, which waits its turn behind what is cancelled.
    tries=0
    until "$shell" "$script" call how_ended | grep -q "\"$shell-$name\""; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ]; then
            failed=$((failed + 1)); echo "FAILED $shell: $name was not cancelled by Ctrl-C"; return
        fi
    done
    passed=$((passed + 1))
}

# A reader that takes one line and then none pauses the generator, while others are served; and gets all when it reads on.
slow_reader() {
    mkfifo "$work/slow"
    "$shell" "$script" stream rows count=20000 >"$work/slow" &
    streaming=$!
    exec 9<"$work/slow"
    rm "$work/slow"
    IFS= read -r row <&9
    before='' asked_for=none
    until [ "$asked_for" = "$before" ]; do
        before=$asked_for
        for _ in 1 2 3 4 5; do "$shell" "$script" call echo >/dev/null; done
        asked_for=$("$shell" "$script" call asked_for)
    done
    rest=$(cat <&9 | wc -l)
    exec 9<&-
    wait "$streaming"
    if [ "$?,$((rest + 0)),${row%%,*}" = '0,19999,[0' ] && [ "$asked_for" -lt 5000 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1)); echo "FAILED $shell: a slow reader: $row, $asked_for asked for, $rest more"
    fi
}

suite() {
    slow_reader
    b="$shell $script"
    # shellcheck disable=SC2086 # $b is two words
    run() { name=$1 status=$2 want=$3 pattern=$4; shift 4; check "$name" "$status" "$want" "$pattern" $b "$@"; }

    run 'params as JSON' 0 '{"by":5}' '' call echo '{"by":5}'
    run 'params as an array' 0 '[1,"a b"]' '' call echo '[1,"a b"]'
    run 'pretty-printed params' 0 '{"a":1}' '' call echo '{
  "a": 1
}'
    run 'no params' 0 '{}' '' call echo
    run 'words' 0 '{"n":1,"t":"a b","u":"x=y:=z","q":"\"\\","z":"007","b":true,"j":[1,{}],"e":""}' '' \
        call echo n=1 't=a b' u=x=y:=z 'q="\' z=007 b=true 'j:=[1,{}]' e=
    run 'a newline in a word' 0 '{"t":"a\nb\n"}' '' call echo 't=a
b
'
    run 'UTF-8' 0 '{"t":"é☃😀"}' '' call echo t=é☃😀
    run 'a result that looks like an envelope' 0 '{"a":"}},\"result\":{\"error\":{"}' '' \
        call echo '{"a":"}},\"result\":{\"error\":{"}'
    run 'backslashes stay' 0 '{"a":"\\n\\\\ %s $HOME `x`"}' '' call echo '{"a":"\\n\\\\ %s $HOME `x`"}'
    check 'params from stdin' 0 '{"a":[1,2]}' '' "$shell" -c 'printf "{\"a\":[1,2]}" | "$0" "$1" call echo -' "$shell" "$script"
    check 'a large value both ways' 0 1000009 '' "$shell" -c \
        '{ printf "{\"a\":\""; head -c 1000000 /dev/zero | tr "\0" x; printf "\"}"; } | "$0" "$1" call echo - | wc -c' \
        "$shell" "$script"

    run 'the method raised' 1 '' 'baskd.sh: ValueError: a "quote" \\ é*' call fail 'message=a "quote" \ é'
    run 'the whole error' 1 '' '{"code":-32020,"message":*"traceback":*}' call --json fail
    run 'an unknown method' 2 '' 'baskd.sh: *ecko*echo*' call ecko
    run 'a method with a quote in its name' 2 '' 'baskd.sh: *a"b*' call 'a"b'
    run 'an unknown parameter' 2 '' 'baskd.sh: *' call fail nope=1
    run 'broken JSON' 2 '' 'baskd.sh: *' call echo '{"a":'
    run 'no JSON' 2 '' 'baskd.sh: x is neither*' call echo x
    run 'late' 5 '' 'baskd.sh: *' call --timeout 50ms wait "{\"begun\":\"$work/late\",\"name\":\"late\"}"
    run 'in time' 0 '{"a":1}' '' call --timeout 5m echo a=1
    run 'no duration' 2 '' '*no duration*' call --timeout soon echo
    run 'Python died' 4 '' 'baskd.sh: *' call die

    run 'a stream' 0 '1
"a b\\"
{"item":{"end":null}}
null
"end"' '' stream items '{"items":[1,"a b\\",{"item":{"end":null}},null]}'
    run 'a stream without a return value' 0 '0
1' '' stream quiet n=2
    run 'a stream that fails' 1 1 'baskd.sh: ValueError: half-way*' stream fails
    run 'a stream of an unknown method' 2 '' 'baskd.sh: *' stream nope
    run 'a late stream' 5 '' 'baskd.sh: *' stream --timeout 50ms wait "{\"begun\":\"$work/late\",\"name\":\"late\"}"
    check 'a reader that has seen enough' 0 '0
1' '' "$shell" -c '"$0" "$1" stream quiet n=100000 | head -n 2' "$shell" "$script"

    parent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    run 'no trace' 0 '[null,null]' '' call traced
    run 'a trace' 0 "[\"$parent\",null]" '' call --traceparent "$parent" traced
    run 'a trace and its state' 0 "[\"$parent\",\"a=\\\"1\"]" '' \
        call --tracestate 'a="1' --traceparent "$parent" --timeout 5m traced
    run 'a trace of a stream' 0 "\"$parent\"" '' stream --traceparent "$parent" traces
    run 'a malformed one' 2 '' 'baskd.sh: *`traceparent`*W3C*' call --traceparent 00-0 traced
    run 'a malformed state' 2 '' 'baskd.sh: *`tracestate`*W3C*' call --traceparent "$parent" --tracestate é traced
    check 'that of the environment' 0 "[\"$parent\",\"a=1\"]" '' \
        env TRACEPARENT="$parent" TRACESTATE=a=1 "$shell" "$script" call traced
    check 'of a version to come' 0 "[\"fe${parent#00}-x\",null]" '' \
        env TRACEPARENT="fe${parent#00}-x" TRACESTATE=é "$shell" "$script" call traced
    for malformed in x "$parent-x" "ff${parent#00}" "$parent " 00-00000000000000000000000000000000-00f067aa0ba902b7-01 \
        00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01 00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01; do
        check "a malformed one of the environment: $malformed" 0 '[null,null]' '' \
            env TRACEPARENT="$malformed" TRACESTATE=a=1 "$shell" "$script" call traced
    done

    run 'set a number' 0 5 '' set n 5
    run 'get it' 0 5 '' get n
    run 'set text' 0 '"a \"b\""' '' set t 'a "b"'
    run 'set a quoted string' 0 '"5"' '' set t '"5"'
    run 'set what only starts like a number' 0 '"5 apples"' '' set t '5 apples'
    run 'no such property' 2 '' 'baskd.sh: *' get nothing_here
    run 'a refused property' 2 '' 'baskd.sh: *' set _private 1

    run 'the path' 0 "$work/run/baskd/default.sock" '' socket
    run 'the path of a name' 0 "$work/run/baskd/other.sock" '' --name other socket
    run 'a name beats the environment' 0 "$work/run/baskd/other.sock" '' --name other socket
    check 'the environment' 0 /x/y.sock '' env BASKD_SOCKET=/x/y.sock "$shell" "$script" socket
    run 'no daemon' 3 '' '*baskd serve*; nothing to start: name a controller' --name nobody call echo
    run 'no folder' 3 '' '*baskd serve*; nothing to start*' --socket "$work/none/x.sock" call echo
    run 'a name that can not be' 2 '' '*' --name ../x call echo
    run 'a path too long' 2 '' '*107*' --socket "/$(printf '%0107d' 0)" call echo
    mkdir -m 755 "$work/open-$shell"
    run 'an open folder' 3 '' '*chmod 700*' --socket "$work/open-$shell/x.sock" call echo
    ln -s "$work/run/baskd" "$work/link-$shell"
    run 'a link' 3 '' '*no link*' --socket "$work/link-$shell/default.sock" call echo
    run 'a link, written otherwise' 3 '' '*no link*' --socket "$work/link-$shell/.//default.sock" call echo
    strange="$work/a,b:c!d '$shell"
    mkdir -m 700 "$strange"
    ln "$work/run/baskd/default.sock" "$strange/x.sock"
    run 'a path that socat would misread' 0 '{"a":1}' '' --socket "$strange/x.sock" call echo a=1

    check 'status' 0 1 '' "$shell" -c '"$0" "$1" status | grep -c "\"state\":\"ready\""' "$shell" "$script"
    check 'methods' 0 1 '' "$shell" -c '"$0" "$1" methods | grep -c "\"openrpc\".*\"how_ended\""' "$shell" "$script"
    run 'no command' 2 '' '*call*'
    run 'an unknown command' 2 '' '*no command*' fly

    sourced 'as a function' 0 '{"by":5}' '' 'baskd_call echo by=5'
    sourced 'a failure is a status, under set -e too' 0 'status 2' 'baskd.sh: *' 'baskd_call nope || echo "status $?"'
    sourced 'no daemon, under set -e' 0 'status 3' '*baskd serve*' 'BASKD_NAME=nobody; baskd_call echo || echo "status $?"'
    sourced 'options do not last' 1 '{}' 'baskd.sh: ValueError*' \
        'baskd_call --json --timeout 5s echo; baskd_call fail'

    stopping
    interrupted call call wait
    interrupted stream stream waits

    starting
    really_starting
}

# What a call does whose daemon stops and has not begun it.
stopping() {
    refused='baskd.sh: The daemon stops*'
    held call '{"a":1}' 0 '' refuses answers
    held call '' 1 "$refused" refuses refuses
    held call '' 1 "$refused" refuses
    held stream 5 0 '' refuses streams
    held stream 5 0 '' takes streams
    held stream '' 1 "$refused" takes takes
    held stream '' 1 "$refused" takes
    held stream 1 1 "$refused" begins
    mock='{"error":{"code":-32024,"message":"The daemon stops.","data":{"by":"shutdown","ran":"no"}}}'
    held call "$mock" 0 '' mocks
    held call "{\"a\":$mock}" 0 '' mocks_deeper
    held stream "$mock
$mock" 0 '' mocks_item
    FAKE=starts held call '{}' 0 '' refuses
    ended
}

# COMMAND STDOUT STATUS STDERR-PATTERN TURN…: the command, on a socket where that is done, in turn, and then nobody is.
held() {
    command=$1 want=$2 status=$3 pattern=$4
    shift 4
    path="$work/run/baskd/held-$shell.sock"
    rm -f "$path".*
    "$python" "$work/held.py" "$path" "$@" &
    holder=$!
    wait_for "$path.listens"
    run "$command, where a daemon $*" "$status" "$want" "$pattern" --socket "$path" "$command" echo
    wait "$holder"
}

# What a call does where no daemon runs.
starting() {
    other="$work/run/baskd/other.sock"
    : >"$FAKE_LOG"
    run 'no start by option' 3 '' '*other.sock: start one with `baskd serve`' --name other --no-start call echo
    run 'no start by option, after the command' 3 '' '*`baskd serve`' --name other call --no-start echo
    check 'no start by environment' 3 '' '*`baskd serve`' \
        env BASKD_START=0 "$shell" "$script" --name other stream quiet n=1
    for command in status restart; do
        run "no start for $command" 3 '' '*`baskd serve`' --name other "$command"
    done
    run 'no start for socket' 0 "$other" '' --name other socket
    logged 'so nothing was started' ''

    run 'a start by name' 3 '' '*nothing to start*' --name other --controller 'a b.py:C' call echo
    logged 'with all that is known' "start --socket $other --name other a b.py:C"
    run 'a start by socket' 3 '' '*nothing to start*' --socket "$work/x y.sock" get n
    logged 'without a name' "start --socket $work/x y.sock"
    check 'a start by environment' 3 '' '*nothing to start*' \
        env BASKD_SOCKET="$work/e.sock" BASKD_NAME=other "$shell" "$script" stream --controller c.py quiet
    logged 'with the name that it has' "start --socket $work/e.sock --name other c.py"

    FAKE=fails run 'a config that is wrong' 2 '' 'baskd.sh: no daemon could be started for *other.sock: line 1 of x.toml
is "wrong"' --name other call echo
    FAKE=dies run 'a daemon that dies' 3 '' '*: it has died' --name other stream quiet
    FAKE=killed run 'a start that is killed' 3 '' '*' --name other set n 1
    FAKE=lies run 'a start that did not help' 3 '' '*`baskd serve`' --name other call echo
    FAKE=lies run 'nor for a stream' 3 '' '*`baskd serve`' --name other stream quiet
    check 'no baskd' 3 '' '*BASKD_BIN names*nowhere*' \
        env BASKD_BIN="$work/nowhere" "$shell" "$script" --name other methods
    check 'none on the PATH, and none built' 3 '' '*cargo install*BASKD_BIN*' \
        env -u BASKD_BIN PATH="$work/few" "$shell_path" "$work/lone/baskd.sh" --name other methods
    sourced 'a failing start under set -e' 0 'status 3' '*nothing to start*' \
        'BASKD_NAME=other; baskd_call echo || echo "status $?"'
    mkdir -m 700 "$work/closed-$shell"
    : >"$work/closed-$shell/x.sock"
    : >"$FAKE_LOG"
    FAKE=dies run 'no socket' 3 '' '*: it has died' --socket "$work/closed-$shell/x.sock" call echo

    FAKE=starts run 'a daemon is started, and called' 0 '{"by":5}' '' --name other call echo by=5
    run 'and called once more' 0 '{"by":6}' '' --name other call echo by=6
    ended
    FAKE=starts run 'a stream starts one' 0 '0
1' '' --name other stream quiet n=2
    ended
    FAKE=starts check 'params from stdin are sent again' 0 '{"a":[1,2]}' '' "$shell" -c \
        'printf "{\"a\":[1,2]}" | "$0" "$1" --name other call echo -' "$shell" "$script"
    ended
    # 9 is a descriptor of whoever calls; the daemon must not keep it open.
    FAKE=starts check 'it holds nothing of its caller' 0 "{}
0
1
2" '' "$shell" -c \
        'exec 3>/dev/null 9>/dev/null; "$0" "$1" --name other call echo; grep -x "[0-9]" "$2" | grep -vx 3' \
        "$shell" "$script" "$FAKE_LOG.fds"
    FAKE=starts run 'a daemon that goes in the middle' 3 '' '*has gone before it answered*' --name other call stop
    wait_for_end
    FAKE=starts run 'a stream whose daemon goes' 3 '' '*has gone before it answered*' --name other stream stop
    wait_for_end
}

# The same with the real `baskd start`.
really_starting() {
    if ! "$real" start --help >/dev/null 2>&1; then
        echo "skipped: $real has no command \`start\`"
        return
    fi
    export BASKD_BIN="$real"
    run 'nothing to start' 3 '' '*baskd serve*; nothing to start*' --name real call echo
    run 'a daemon is really started' 0 '{"by":5}' '' --name real --controller "$work/controller.py" call echo by=5
    "$shell" "$script" --name real status |
        sed 's/.*"version":"[^"]*","pid":\([0-9]*\).*/\1/' >"$FAKE_LOG.pid"
    run 'and called once more' 0 '{"by":6}' '' --name real call echo by=6
    ended
    export BASKD_BIN="$work/baskd"
}

# NAME TEXT: what baskd was asked for last.
logged() {
    check "$1" 0 "$2" '' tail -n 1 "$FAKE_LOG"
}

# Ends the daemon that a test has started.
ended() {
    kill "$(cat "$FAKE_LOG.pid")"
    wait_for_end
}

wait_for_end() {
    tries=0
    while kill -0 "$(cat "$FAKE_LOG.pid")" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 400 ] || { failed=$((failed + 1)); echo "FAILED $shell: a daemon did not end"; return; }
        sleep 0.05
    done
}

# A PATH without baskd, and the script where no baskd was built.
mkdir "$work/few" "$work/lone"
cp "$script" "$work/lone/baskd.sh"
for tool in socat sed awk grep ls id wc dirname readlink cat; do ln -s "$(command -v "$tool")" "$work/few/$tool"; done

for shell in dash bash; do
    shell_path=$(command -v "$shell") || { echo "skipped: $shell is not here"; continue; }
    suite
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
