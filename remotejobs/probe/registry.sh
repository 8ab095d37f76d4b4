# registry.sh, first of what reads: the program at the other end of an exchange. POSIX sh and awk; nothing is installed, nothing is executed that
# arrives as data. The schedulers' .sh files stand before this text, $remotejobs_wrapper and $KINDS are set above it.
#
# Request (standard input, fields parted by one tab, "-" for nothing; `end` proves that it came whole):
#   remotejobs 1 WORD BUDGET | source APP TOTAL BUCKETS SEALED [whole] | cancel UUID APP KEY SENT |
#   submit UUID APP HASH SCHEDULER ASKED DOCUMENT(base64) | resubmit UUID APP KEY ASKED | claimed APP HASH | detect - |
#   seal APP LIMIT SETTLED TRASH do|look | prune APP 0 AGE - do|look | end        (ages in seconds)
# Answer: every line of ours begins with WORD, which is random per request; lines of content begin with `|`.
# What precedes the first such line (banners, rc files) is noise. A part counts only with its `closed ... 0` line.

# Each process that is started here costs a millisecond or two: what the shell can do itself, it does.
LC_ALL=C TZ=UTC PROBE=1 NOW= UP=
export LC_ALL TZ
# With these `cd .app` might go elsewhere, and ls and awk speak otherwise.
unset CDPATH QUOTING_STYLE POSIXLY_CORRECT
umask 077
set -f
TAB='	' NL='
'
[ -r /proc/sys/kernel/hostname ] && read -r HOST </proc/sys/kernel/hostname && [ -n "$HOST" ] || HOST=$(uname -n)
[ -r /proc/sys/kernel/ostype ] && read -r SYSTEM </proc/sys/kernel/ostype && [ -n "$SYSTEM" ] || SYSTEM=$(uname -s)
HOST=${HOST%%.*}

# tell_time: reads the clock, by a process, and says it; once. Where nothing lives and nothing is to be done, nobody needs it.
tell_time() {
  [ -z "$NOW" ] || return 0
  NOW=$(date +%s)
  { read -r UP _rest </proc/uptime; } 2>/dev/null
  UP=${UP%.*}
  say clock "$NOW"
}

# look_at_clock: sets $now. What has passed since the clock was read stands in a file.
look_at_clock() {
  if { read -r _up _rest </proc/uptime; } 2>/dev/null; then now=$((NOW + ${_up%.*} - $UP)); else now=$(date +%s); fi
}

# has_time: whether the budget of this exchange is not used up.
has_time() { look_at_clock; [ $((now - NOW)) -lt "$BUDGET" ]; }

say() { printf '%s %s\n' "$WORD" "$*"; }

# Bounded CPU-less stand-in where coreutils' timeout is missing.
bounded() {
  _limit=$1; shift
  "$@" & _pid=$!
  ( sleep "$_limit"; kill "$_pid" 2>/dev/null ) >/dev/null 2>&1 & _watch=$!
  wait "$_pid"; _status=$?
  kill "$_watch" 2>/dev/null
  return "$_status"
}
if command -v timeout >/dev/null 2>&1; then BOUND='timeout 20'; else BOUND='bounded 20'; fi

# ---- the words of the request are checked here: Python's own check is not this program's defence ----
is_app() { case $1 in '' | [!A-Za-z0-9]* | *[!A-Za-z0-9._-]*) return 1 ;; esac; [ ${#1} -le 64 ]; }
is_hash() { case $1 in *[!0-9a-f]*) return 1 ;; esac; [ ${#1} -eq 32 ]; }
is_number() { case $1 in '' | 0* | *[!0-9]*) return 1 ;; esac; [ ${#1} -le 6 ]; }
is_key() { is_hash "${1%_*}" && is_number "${1##*_}"; }
is_uuid() { case $1 in *[!0-9a-f-]*) return 1 ;; esac; [ ${#1} -eq 36 ]; }
is_kind() { case $1 in *[!a-z]*) return 1 ;; esac; case " $KINDS " in *" $1 "*) return 0 ;; esac; return 1; }

# ---- the registry: ~/.APP ----
# enter APP: makes it the working folder. 0: in it. 1: there is none (nothing is made by looking). 2: trouble, in $trouble.
enter() {
  trouble='' R=
  is_app "$1" || { trouble='bad-app'; return 2; }
  case $HOME in /*) ;; *) trouble='no-home'; return 2 ;; esac
  cd "$HOME" 2>/dev/null || { trouble='no-home'; return 2; }
  [ -e ".$1" ] || [ -h ".$1" ] || return 1
  [ -d ".$1" ] || [ -h ".$1" ] || { trouble='foreign'; return 2; }
  cd -P ".$1" 2>/dev/null || { trouble='closed'; return 2; }
  R=$PWD
  # The path goes into directive lines and scripts; spaces and quotes there would be read by others.
  case $R in *[!A-Za-z0-9/._@+,:=~-]*) trouble='bad-path'; return 2 ;; esac
  if [ -f version ] && [ -r version ]; then
    # The second line tells this registry from another one with the same names in it; a cursor of that one is none here.
    { IFS= read -r _version; IFS= read -r made; } <version
    case $made in *[!0-9a-f]*) made= ;; esac
    case $_version in
      'remotejobs 1')
        [ -d settings ] && [ -d facts ] || return 1  # it is just being made
        [ -r settings ] && [ -x settings ] && [ -r facts ] && [ -x facts ] && return 0
        trouble='closed' ;;
      'remotejobs '[0-9]*) trouble='newer' ;;
      *) trouble='foreign' ;;
    esac
    return 2
  fi
  [ -r . ] && [ -z "$(ls -A 2>/dev/null | grep -v '^\.version\.')" ] && return 1
  [ -f version ] && [ -r version ] && { enter "$1"; return; }  # made just now
  if [ -r . ] && [ ! -f version ]; then trouble='foreign'; else trouble='closed'; fi
  return 2
}

# ---- facts ----
# put_facts: lines "NAME<tab>word=value<tab>..."; a file each, checked, then linked to its name. Three processes for any number.
put_facts() {
  [ -d actions ] && mkdir "actions/facts.$WORD" 2>/dev/null || return 1
  awk -F "$TAB" -v into="actions/facts.$WORD/" '{
    file = into $1
    for (i = 2; i <= NF; i++) print $i > file
    print "end" > file; close(file)
    last = ""; while ((getline line < file) > 0) last = line; close(file)
    if (last == "end") print file
  }' 2>/dev/null | xargs sh -c 'ln "$@" facts/ 2>/dev/null' sh
  rm -rf "actions/facts.$WORD"
}

# take FILE NAME: FILE becomes NAME if no NAME is there yet; 0 when NAME now has this very content. `ln` and `mkdir` are not
# believed (a repeated NFS call reports failure after success); what can be read back is.
take() { ln "$1" "$2" 2>/dev/null; cmp -s "$1" "$2"; }
