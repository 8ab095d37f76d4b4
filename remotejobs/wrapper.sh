# What every job carries around the person's command. $remotejobs_run is its run folder; remotejobs_id and
# remotejobs_attempt were set by the lines of its scheduler; the functions remotejobs_before, remotejobs_command and
# remotejobs_after and the environment follow below. It never changes the job's exit code.
remotejobs_key=${remotejobs_run##*/}
remotejobs_facts=${remotejobs_run%/runs/*}/facts
remotejobs_child=

# A fact is created once: written, then linked to its name.
remotejobs_fact() {
  printf '%s\n' "$2" end >"$remotejobs_run/.$1" && ln "$remotejobs_run/.$1" "$remotejobs_facts/$remotejobs_key.$1"
} 2>/dev/null

# The exit file was reserved at the start: on a full disk new files fail, filling and linking an old one does not.
remotejobs_reserve() { printf '%160s\n' '' >"$remotejobs_run/.exit.$remotejobs_attempt"; } 2>/dev/null

remotejobs_finish() {
  remotejobs_code=$?
  trap - EXIT
  {
    printf 'code=%s\ntime=%s\nend\n' "$remotejobs_code" "$(date +%s)" 1<>"$remotejobs_run/.exit.$remotejobs_attempt"
    ln "$remotejobs_run/.exit.$remotejobs_attempt" "$remotejobs_facts/$remotejobs_key.exit.$remotejobs_attempt"
  } 2>/dev/null
  exit "$remotejobs_code"
}

# Only the job that the record names may run: a twin of a repeated submission leaves here.
remotejobs_fence() {
  [ -r "$remotejobs_facts/$remotejobs_key.id" ] || return 0
  grep -qx "id=$remotejobs_id" "$remotejobs_facts/$remotejobs_key.id" || exit 0
}

remotejobs_pass() { [ -z "$remotejobs_child" ] || kill -"$1" "$remotejobs_child" 2>/dev/null; }

# `&` and `wait`: a shell runs its traps only after a foreground child has ended.
remotejobs_go() {
  remotejobs_command &
  remotejobs_child=$!
  while :; do
    wait "$remotejobs_child"; remotejobs_status=$?
    kill -0 "$remotejobs_child" 2>/dev/null || break
  done
  remotejobs_child=
}

remotejobs_main() {
  remotejobs_fence
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
