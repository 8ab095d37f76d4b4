# process.sh: plain background processes on a Linux machine that has no batch system, or beside it.
# A process is known by pid, start time and boot id together: pids come again, and after a restart nobody lives.

process_here() { [ -r /proc/self/stat ] && command -v setsid >/dev/null 2>&1; }
process_cluster() { printf '%s\n' "$HOST"; }

# process_query: stdin "ID SUBMITTED ATTEMPT KEY SID TICKS BOOT"; a line each, q|WORD|KEY|alive|..., or gone and why.
# Where the wrapper is gone, its session is looked for: the person's program may live on without it.
process_query() {
  awk -v word="$WORD" '
    function stat(pid,   line, n) {
      split("", field)
      if ((getline line < ("/proc/" pid "/stat")) <= 0) { close("/proc/" pid "/stat"); return 0 }
      close("/proc/" pid "/stat")
      sub(/^.*\) /, "", line)
      n = split(line, field, " ")
      return n > 19 && field[1] != "Z"
    }
    function session_lives(sid, boot_ticks,   list, pid) {
      list = "cd /proc && echo [0-9]*"
      if (!listed) { list | getline all; close(list); pids = split(all, process, " "); listed = 1
        for (i = 1; i <= pids; i++) if (stat(process[i])) { lives[field[4]]++; if (!(field[4] in first) || field[20] + 0 < first[field[4]]) first[field[4]] = field[20] + 0 } }
      return (sid in lives) && first[sid] >= boot_ticks
    }
    BEGIN { getline boot < "/proc/sys/kernel/random/boot_id" }
    NF >= 7 {
      if ($7 != boot) print "q|" word "|" $4 "|gone|rebooted|" $2
      else if ((there = stat($1)) && field[20] == $6) print "q|" word "|" $4 "|alive|" (field[1] == "T" ? "stopped" : "running") "|" $2
      # A pid is not given again while it names a session: another process there means that the session is over.
      else if (!there && session_lives($5, $6 + 0)) print "q|" word "|" $4 "|alive|orphaned|" $2
      else print "q|" word "|" $4 "|gone|vanished|" $2
    }
    END { print "accounting none" }'
}

process_live() { awk -F '|' '$1 == "q" && $4 == "alive" { print $3, 1, $6 }'; }
process_endings() { :; }
# process_all_live: $answer says at a glance that every job it was asked about lives, so it proves nothing new.
process_all_live() { case $answer in *'|gone|'*) return 1 ;; esac; }

# ---- acting: sent along only where something is to be done ----
# process_start RUN SHELL: in a session of its own, so that it outlives us and can be stopped as a whole.
process_start() {
  (
    set -f
    exec </dev/null >>"$1/stdout" 2>>"$1/stderr"
    as_person
    exec setsid $2 "$R/$1/script"
  ) &
}

# process_cancel: stdin "PID SID TICKS BOOT SENT", and `~`, which it repeats when all were told. TERM to all of its session but
# the wrapper, which stays to note the exit code; KILL when it was told so before and lives on. All are told at once, then up to
# two seconds are waited for their end.
process_cancel() {
  read -r _boot_now </proc/sys/kernel/random/boot_id
  _jobs=$(cat)
  case $_jobs in *'~') _jobs=${_jobs%'~'} ;; *) return 1 ;; esac
  for _once in 1 2 3 4 5 6 7 8 9 10; do
    _left=$(printf '%s\n' "$_jobs" | while read -r _pid _sid _ticks _boot _sent; do
      [ "$_boot" = "$_boot_now" ] || continue
      _members=$(process_members "$_pid" "$_sid" "$_ticks")
      [ -n "$_members" ] || continue
      echo "$_members"
      [ "$_once" != 1 ] || kill -"$([ "$_sent" = sent ] && echo KILL || echo TERM)" $_members 2>/dev/null
    done)
    [ -n "$_left" ] || break
    sleep 0.2 2>/dev/null || sleep 1
  done
  echo '~'
}

# process_members PID SID TICKS: who lives in that session, the wrapper left out; nothing if the session is a later one.
process_members() {
  set +f
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v wrapper="$1" -v sid="$2" -v ticks="$3" '{
    pid = $1; sub(/^.*\) /, ""); if ($4 != sid || $1 == "Z") next
    if ($20 + 0 < ticks + 0 || pid == wrapper && $20 != ticks) foreign = 1
    if (pid != wrapper) found = found " " pid
  } END { if (!foreign) print substr(found, 2) }'
  set -f
}

# What a job's script learns of itself: who it is.
process_identity='remotejobs_attempt=1
remotejobs_id=$$
# A process has no hold: it records itself by ln, and goes on only if the recorded one is it.
remotejobs_stat=$(cat /proc/$$/stat) && remotejobs_stat=${remotejobs_stat##*) }
set -- $remotejobs_stat
printf "%s\n" scheduler=process "cluster=$(uname -n | cut -d . -f 1)" "host=$(uname -n)" "id=$$" "submitted=$(date +%s)" \
  "incarnation=$(od -An -N8 -tx1 /dev/urandom | tr -d " \n")" "sid=$4" "start_ticks=${20}" \
  "boot=$(cat /proc/sys/kernel/random/boot_id)" end >"$remotejobs_run/.id.$$"
[ "$(tail -n 1 "$remotejobs_run/.id.$$")" = end ] && ln "$remotejobs_run/.id.$$" "${remotejobs_run%/runs/*}/facts/${remotejobs_run##*/}.id" 2>/dev/null
rm -f "$remotejobs_run/.id.$$"
set --
[ -r "${remotejobs_run%/runs/*}/facts/${remotejobs_run##*/}.id" ] || exit 1'

# process_header: nobody holds a process to what it was given.
process_header() { return 1; }
