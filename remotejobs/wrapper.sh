# What every job carries around the person's command. $remotejobs_run is its run folder; remotejobs_id and
# remotejobs_attempt were set by the lines of its scheduler; the functions remotejobs_before, remotejobs_command and
# remotejobs_after and the environment follow below. It never changes the job's exit code.
remotejobs_key=${remotejobs_run##*/}
remotejobs_facts=${remotejobs_run%/runs/*}/facts
remotejobs_child= remotejobs_got= remotejobs_stop=

# A job that was over for days, cleaned and then requeued, or whose node was away, has no run folder any more.
remotejobs_room() { [ -d "$remotejobs_run" ] || mkdir -m 700 "$remotejobs_run"; } 2>/dev/null

# A fact is created once: written, then linked to its name.
remotejobs_fact() {
  printf '%s\n' "$2" end >"$remotejobs_run/.$1"
  [ "$(tail -n 1 "$remotejobs_run/.$1")" = end ] && ln "$remotejobs_run/.$1" "$remotejobs_facts/$remotejobs_key.$1"
} 2>/dev/null

# The exit file was reserved at the start: on a full disk new files fail, filling and linking an old one does not.
remotejobs_reserve() { printf '%160s\n' '' >"$remotejobs_run/.exit.$remotejobs_attempt"; } 2>/dev/null

remotejobs_finish() {
  remotejobs_code=$?
  trap - EXIT
  remotejobs_room
  {
    printf 'code=%s\ntime=%s\nend\n' "$remotejobs_code" "$(date +%s)" 1<>"$remotejobs_run/.exit.$remotejobs_attempt"
    grep -qx end "$remotejobs_run/.exit.$remotejobs_attempt" &&
      ln "$remotejobs_run/.exit.$remotejobs_attempt" "$remotejobs_facts/$remotejobs_key.exit.$remotejobs_attempt"
  } 2>/dev/null
  exit "$remotejobs_code"
}

# Only the job that the record names may run: a twin of a repeated submission leaves here.
remotejobs_fence() {
  [ -r "$remotejobs_facts/$remotejobs_key.id" ] || return 0
  grep -qx "id=$remotejobs_id" "$remotejobs_facts/$remotejobs_key.id" || exit 0
}

# Before there is a program, a signal that would end it keeps it from being started.
remotejobs_pass() {
  remotejobs_got=yes
  if [ -n "$remotejobs_child" ]; then kill -"$1" "$remotejobs_child" 2>/dev/null
  else case $1 in HUP | INT | TERM) remotejobs_stop=yes ;; esac
  fi
}

# With & and wait: a shell runs its traps only after a foreground child has ended.
remotejobs_go() {
  [ -z "$remotejobs_stop" ] && [ ! -e "$remotejobs_run/.told" ] || exit 143
  remotejobs_command &
  remotejobs_child=$!
  remotejobs_status=
  # A trap ends wait early, with a status of its own: only a wait that no signal disturbed tells the program's.
  while :; do
    remotejobs_got=
    wait "$remotejobs_child"; remotejobs_last=$?
    # 127 after another status: the program had already been waited for when the signal came.
    [ "$remotejobs_last" = 127 ] && [ -n "$remotejobs_status" ] || remotejobs_status=$remotejobs_last
    [ -n "$remotejobs_got" ] || break
  done
  remotejobs_child=
}

remotejobs_main() {
  remotejobs_fence
  remotejobs_room
  remotejobs_reserve
  remotejobs_fact "start.$remotejobs_attempt" "time=$(date +%s)
host=$(uname -n)
pid=$$"
  trap remotejobs_finish EXIT
  for remotejobs_signal in HUP INT TERM USR1 USR2 CONT; do
    trap "remotejobs_pass $remotejobs_signal" "$remotejobs_signal"
  done
  cd "$remotejobs_run" || exit 1
  remotejobs_place || exit 1
  remotejobs_before
  remotejobs_go
  remotejobs_after
  exit "$remotejobs_status"
}
