#!/bin/sh
# Makes .venv and installs ILoRA Lab into it, as `make setup` does; `setup.sh app` leaves out what only tests and checks need.
# Says one line and stops where something is missing.
# It is done when .venv/.installed holds the state below; a repeat sees that and returns at once.
set -u
cd "$(dirname "$0")/.." || exit 1

VENV=.venv
LOG=$VENV/install.log
DONE=$VENV/.installed
BUSY=$VENV/.installing # the process that installs; what it leaves behind when it dies marks a half-finished install
NEEDED_GB=8
PACKAGES=requirements-dev.txt
[ "${1:-}" = app ] && PACKAGES=requirements.txt
export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off
unset PYTHONHOME

fail() {
    echo "make setup: $1" >&2
    exit 1
}

state() { # of an install from file $1: changes when the requirements change or the folder moves
    pwd -P
    cksum requirements*.txt pyproject.toml
    echo "$1"
}

installed() { # what tests need has the app's packages in it, too
    done=$(cat $DONE 2>/dev/null) || return 1
    [ "$done" = "$(state $PACKAGES)" ] || [ "$done" = "$(state requirements-dev.txt)" ]
}

works() { # an interpreter that runs and is new enough
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    found="" without_venv=""
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.13 python3.12 python3.11 python3 python; fi
    for candidate; do
        version=$("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null) || continue
        case ", $found, " in *", $version, "*) ;; *) found="${found:+$found, }$version" ;; esac
        works "$candidate" || continue
        if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            PYTHON=$candidate
            return
        fi
        without_venv=${without_venv:-$version}
    done
    [ -z "$without_venv" ] ||
        fail "Python $without_venv lacks its venv module; install it (Debian, Ubuntu: sudo apt install python3-venv) and run again."
    fail "ILoRA Lab needs Python 3.11 or newer; found ${found:-none}. Name another one with: make setup PYTHON=/path/to/python"
}

check_disk() {
    free_kb=$(df -Pk . 2>/dev/null | awk 'NR == 2 { print $4 }')
    case "$free_kb" in '' | *[!0-9]*) return ;; esac
    [ "$free_kb" -ge $((NEEDED_GB * 1024 * 1024)) ] ||
        fail "a fresh install needs about $NEEDED_GB GB of free disk; $((free_kb / 1024 / 1024)) GB are free here."
}

explain_failure() { # one line out of pip's log
    if grep -qE 'No space left on device|Disk quota exceeded' "$LOG"; then
        fail "the disk filled up; a fresh install needs about $NEEDED_GB GB here and room for pip's temporary files. Full log: $LOG"
    elif grep -qE 'No matching distribution found for hatchling|NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|Connection (broken|reset|refused|aborted)|[Nn]ame ?[Rr]esolution|Failed to resolve|Connection to .* timed out|Read timed out|[45][0-9][0-9] (Client|Server) Error' "$LOG"; then
        fail "pip could not reach the package index; check the network, proxy or pip's settings and run again. Full log: $LOG"
    fi
    reason=$(sed -n 's/^ *ERROR: //p' "$LOG" | tail -n 1)
    fail "pip could not install the packages (${reason:-no reason given}). Full log: $LOG"
}

heartbeat() { # an install of gigabytes should not look like a hang
    seconds=0
    while sleep 15 >/dev/null 2>&1; do # detached from the output, which would stay open after the end
        seconds=$((seconds + 15))
        printf '  %3d s  %s\n' "$seconds" "$(tail -n 1 "$LOG" | cut -c 1-110)"
    done
}

if [ ! -f $BUSY ] && installed && works $VENV/bin/python; then
    exit 0
fi

if [ -f $BUSY ]; then
    other=$(cat $BUSY)
    kill -0 "$other" 2>/dev/null && fail "process $other is already installing into $VENV; wait for it, or delete $BUSY if it is something else."
    echo "The last install was interrupted; starting afresh."
    rm -rf $VENV
fi
if ! works $VENV/bin/python || ! $VENV/bin/python -m pip --version >/dev/null 2>&1; then
    find_python
    check_disk
    rm -rf $VENV
    mkdir $VENV 2>/dev/null || fail "cannot write in $(pwd)."
    echo $$ >$BUSY
    "$PYTHON" -m venv $VENV >$LOG 2>&1 || fail "$PYTHON could not make a virtual environment. Full log: $LOG"
fi

rm -f $DONE
echo $$ >$BUSY || fail "cannot write in $(pwd)/$VENV."
target=$(state $PACKAGES)
echo "Installing into $VENV with Python $($VENV/bin/python -c 'import platform; print(platform.python_version())'); the first time takes some minutes and about 7 GB."
: >$LOG
heartbeat &
beat=$!
trap 'kill $beat 2>/dev/null' EXIT
trap 'exit 130' INT TERM
$VENV/bin/python -m pip install -r $PACKAGES -e . >>$LOG 2>&1 || {
    grep -q '^Installing collected packages' "$LOG" || rm -f $BUSY # still downloading: nothing is half installed
    explain_failure
}
$VENV/bin/python -c 'import torch, torchvision, streamlit' >>$LOG 2>&1 ||
    fail "the packages are installed but do not import ($(tail -n 1 $LOG)). Full log: $LOG"
echo "$target" >$DONE
rm -f $BUSY
echo "Installed. Next: make app"
