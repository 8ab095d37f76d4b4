# registry.sh, first of what reads: the program at the other end of an exchange. POSIX sh and awk; nothing is installed, nothing is executed that
# arrives as data. $KINDS is set above this text. With records.sh, request.sh and main.sh it answers where nothing is new; the other
# parts, with the schedulers' .sh files and $remotejobs_wrapper, wait in $rest for `more` (those of a gate stand before this text).
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

# tell_time: reads the clock and tells it; once. Where nothing lives and nothing is to be done, nobody needs it. Some shells have a
# clock, which takes no other value; that of the others is a process.
tell_time() {
  [ -z "$NOW" ] || return 0
  EPOCHSECONDS=
  NOW=${EPOCHSECONDS:-$(date +%s)}
  case $NOW in '' | *[!0-9]*) say trouble no-clock; say bye; exit ;; esac  # what is old would be new, and facts would be of 1970
  { read -r UP _rest </proc/uptime; } 2>/dev/null
  UP=${UP%.*}
  note clock "$NOW"
}

# look_at_clock: sets $now. What has passed since the clock was read stands in a file.
look_at_clock() {
  if { read -r _up _rest </proc/uptime; } 2>/dev/null; then now=$((NOW + ${_up%.*} - $UP)); else now=$(date +%s); fi
}

# has_time: whether the budget of this exchange is not used up.
has_time() { look_at_clock; [ $((now - NOW)) -lt "$BUDGET" ]; }

# say: a line of the answer, after what was noted. note: a line that goes out with the next one that is said, since each writing is
# a packet of its own on its way; never in a subshell.
noted=
say() { printf '%s%s %s\n' "$noted" "$WORD" "$*"; noted=; }
note() { noted="$noted$WORD $*$NL"; }

# more: the rest of this program, which a sync that finds nothing new does without; its last line says that it came whole. After it
# nothing is noted any more that a subshell could say once again.
more() {
  [ -z "$noted" ] || printf '%s' "$noted"
  noted=
  [ -z "$entire" ] || return 0
  case $rest in
    *"$parted"*) IFS=$parted; set -- $rest; IFS=$NL; rest="$*"; unset IFS; eval "$rest" ;;
    *) eval "$(printf '%s' "$rest" | base64 -d | gzip -dc)" ;;
  esac
  [ -n "$entire" ] || exit 70
}

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
