# Slurm's verbs on the server, for probe.sh. POSIX sh and awk; runs with LC_ALL=C, TZ=UTC, `set -f`, $WORD and $BOUND set.
#
# The lines of slurm_query, one shape for queue (q) and accounting (a), fields as Slurm prints them, times since 1970:
#   q|WORD|ID|ATTEMPT|SUBMIT|STATE|EXIT|START|END|LIMIT|PARTITION|NODES|REASON[|SUBMITTED]
#   n|WORD|ID|SUBMITTED        asked about, and the queue does not list it (a job without any line was not asked about)
#   accounting complete|none|failed|unasked
# SUBMIT is of the attempt. Where our job was submitted at another time its own one stands at the end: several jobs of ours may
# have had the same id.
#
# What was found out on real clusters, and why it is done like this:
# - Only `squeue -O` has the number of restarts. Separators in -O came with 20.02, fixed columns are in every version
#   (squeue cuts each field to its width), so the columns are cut by position. No name, path or comment is asked for with
#   them: a newline in one would forge a row. (cluster, id, submit time) is exact, and costs nothing.
# - A requeue counts the restarts up and moves the submit time, not both at once; accounting keeps a row per attempt, each with
#   its own submit time. So a row that is not the first of ours to the second may be a later attempt of ours, or another job
#   that was given the same id: the path of its script tells, asked for only then, in lines that carry our word.
# - `SLURM_TIME_FORMAT=%s` makes every command print seconds since 1970: no zone, no summer time.
# - `mine` in an accounting line's REASON: the one who cancelled it is the user whose job it is.
# - A dead slurmctld costs squeue 10 s, and a frozen one costs scontrol as much: hence the short bounds on that, which comes first.

slurm_nl='
'
# The states in which a job has ended. A word that we do not know is taken for a living one: nothing is said to be over
# without proof. The second list may come back under the same id, and counts as over when it stayed so for 15 minutes.
slurm_words='function words(list, into,   n, i, word) { n = split(list, word, " "); for (i = 1; i <= n; i++) into[word[i]] = 1 }
  BEGIN { words("COMPLETED FAILED TIMEOUT OUT_OF_MEMORY CANCELLED DEADLINE REVOKED", over)
    words("PREEMPTED NODE_FAIL BOOT_FAIL RECONFIG_FAIL", perhaps) }'

slurm_here() { command -v squeue >/dev/null 2>&1 && command -v sbatch >/dev/null 2>&1 && command -v scontrol >/dev/null 2>&1; }

# Says "down" only where the answer says so (a site may forbid or wrap scontrol: then squeue itself shall tell).
slurm_up() {
  [ -z "$slurm_answered" ] || return 0
  case $(${BOUND% *} 3 scontrol ping </dev/null 2>/dev/null || echo "status $?") in
    *' UP'* | *'/UP'*) return 0 ;;
    *DOWN* | *'status 124'* | *'status 137'* | *'status 143'*) return 1 ;;
  esac
}

slurm_config() { ${BOUND% *} 5 scontrol show config </dev/null 2>/dev/null | awk -v name="$1" '$1 == name && $2 == "=" { print $3; exit }'; }

# It comes from slurmctld, so that it also says whether that is up.
slurm_cluster() {
  _cluster=$(slurm_config ClusterName)
  case $_cluster in '' | *[!A-Za-z0-9._-]*) return 1 ;; esac
  printf '%s\n' "$_cluster"
}

# Settings in a person's rc files would change what the commands print, or whom they ask. Called in subshells: jobs that are
# no Slurm jobs must not inherit the format.
slurm_clean() {
  unset SQUEUE_FORMAT SQUEUE_FORMAT2 SQUEUE_STATES SQUEUE_USERS SQUEUE_PARTITION SQUEUE_ACCOUNT SQUEUE_QOS SQUEUE_NAMES \
    SQUEUE_LICENSES SQUEUE_SORT SQUEUE_ARRAY SQUEUE_ARRAY_UNIQUE SQUEUE_PRIORITY SQUEUE_FEDERATION SLURM_CLUSTERS \
    SCANCEL_STATE SCANCEL_NAME SCANCEL_PARTITION SCANCEL_QOS SCANCEL_USER SCANCEL_WCKEY SCANCEL_ACCOUNT SCANCEL_INTERACTIVE \
    SCANCEL_VERBOSE SCANCEL_BATCH SCANCEL_CTLD SCANCEL_FULL SCANCEL_HURRY SACCT_FEDERATION SACCT_LOCAL
  export SLURM_TIME_FORMAT=%s
}

slurm_squeue() (
  slurm_clean
  $BOUND squeue -h -a -t all -u "$(id -u)" "$@" </dev/null 2>/dev/null \
    -O jobid:12,restartcnt:8,submittime:20,state:16,exit_code:12,starttime:20,endtime:20,timelimit:16,partition:64,nodelist:64,reason:80
)

slurm_columns='function column(from, width,   text) {
    text = substr($0, from, width); gsub(/^ +| +$/, "", text); gsub(/[|\001-\037\177]/, "/", text); return text }
  function cut_row() { id = column(1, 12); attempt = column(13, 8); submit = column(21, 20); state = column(41, 16)
    if (id !~ /^[0-9]+$/ || attempt !~ /^[0-9]+$/ || submit !~ /^[0-9]+$/ || state !~ /^[A-Z][A-Z0-9_]*[+]?$/) return 0
    attempt++; return 1 }'

# The date of a time, for sacct -S.
slurm_date='function day(seconds,   z, era, doe, yoe, doy, mp, y, m) {
    z = int(seconds / 86400) + 719468; era = int(z / 146097); doe = z - era * 146097
    yoe = int((doe - int(doe / 1460) + int(doe / 36524) - int(doe / 146096)) / 365); y = yoe + era * 400
    doy = doe - (365 * yoe + int(yoe / 4) - int(yoe / 100)); mp = int((5 * doy + 2) / 153)
    m = mp < 10 ? mp + 3 : mp - 9; if (m <= 2) y++
    return sprintf("%04d-%02d-%02d", y, m, doy - int((153 * mp + 2) / 5) + 1) }'

# The open jobs, the scripts of those in doubt, then the queue: their rows, what the queue lacks, and as the last line whom
# accounting is to be asked about: "ask SINCE IDS IDS ...", 200 ids to a command. Ends 0 if the queue answer is complete.
# 2: the last line names the ids whose scripts have to be known first.
slurm_queue_rows="$slurm_words$slurm_columns$slurm_date"'
  part < 2 && $0 == "--" { part++; next }
  !part { if ($1 ~ /^[0-9]+$/ && $2 ~ /^[0-9]+$/) { order[++n] = $1 " " $2; key[$1 " " $2] = $4; mine[$1, ++count[$1]] = $2 }; next }
  part == 1 { if (split($0, told, "|") == 3 && told[1] == word) script[told[2]] = told[3]; next }
  $1 == "status" { status = $2; next }
  $0 == "" { next }
  !cut_row() { odd++; next }
  !(id in count) { next }
  { first = ""
    if (attempt == 1 && (id " " submit) in key) first = submit
    else if (!asked_scripts) { doubts = doubts (doubts == "" ? "" : ",") id; next }
    else if (!(id in script)) { unseen[id] = 1; next }  # it went before it could be asked
    else for (i = 1; i <= count[id]; i++) if (is_of(script[id], key[id " " mine[id, i]])) first = mine[id, i]
    if (first == "") next  # the id was used again, for another job
    listed[id " " first] = 1; if (!(state in over || state in perhaps)) alive[id " " first] = 1
    print "q|" word "|" id "|" attempt "|" submit "|" state "|" column(57, 12) "|" column(69, 20) "|" column(89, 20) "|" \
      column(109, 16) "|" column(125, 64) "|" column(189, 64) "|" column(253, 80) (first == submit ? "" : "|" first) }
  function is_of(path, key,   end) { end = "/runs/" key "/script"; return length(path) > length(end) && substr(path, length(path) - length(end) + 1) == end }
  END {
    if (status != "0" || odd) { print "ask"; exit 1 }
    if (doubts != "") { print "doubt " doubts; exit 2 }
    for (i = 1; i <= n; i++) { split(order[i], job, " ")
      if (!(order[i] in listed) && !(job[1] in unseen)) print "n|" word "|" job[1] "|" job[2]
      if (order[i] in alive) continue
      if (earliest == "" || job[2] + 0 < earliest + 0) earliest = job[2]
      ids = ids (asked++ % 200 ? "," : " ") job[1] }
    print "ask" (asked ? " " day(earliest - 86400) ids : "") }'

slurm_query() {
  _open=$(cat) _scripts= _doubts=
  _listed=$(slurm_up && slurm_squeue; printf '\nstatus %s\n' $?)
  _queue=$(slurm_rows); _status=$?
  if [ $_status = 2 ]; then
    _doubts=${_queue##*doubt }
    _scripts=$(slurm_scripts "$_doubts")
    _queue=$(slurm_rows); _status=$?
  fi
  [ $_status = 0 ] || { slurm_say "${_queue%ask*}"; echo accounting unasked; return 1; }
  _ask=${_queue##*"$slurm_nl"}
  slurm_say "${_queue%"$_ask"}"
  if [ "$_ask" = ask ]; then echo accounting unasked; else slurm_accounting ${_ask#ask }; fi
  return 0
}

slurm_rows() { printf '%s\n--\n%s\n--\n%s\n' "$_open" "$_scripts" "$_listed" | awk -v word="$WORD" -v asked_scripts="$_doubts" "$slurm_queue_rows"; }

# slurm_scripts IDS: "WORD|ID|PATH" of each. A job of this user could put a line break into its path, but does not know the word.
slurm_scripts() (
  slurm_clean
  $BOUND squeue -h -a -t all -u "$(id -u)" -j "$1" -o "$WORD|%A|%o" </dev/null 2>/dev/null
)

slurm_say() { [ -z "$1" ] || printf '%s\n' "${1%"$slurm_nl"}"; }

# slurm_accounting SINCE IDS...: a window alone omits what was cancelled while held, so the ids are asked for.
# Not the user: jobs that changed right after they were submitted are at times kept under user 0 (seen in 22.05).
slurm_accounting() {
  _since=$1; shift
  _rows=$({ printf '%s\n--\n' "$_open"
    for _ids in "$@"; do
      slurm_sacct -S "$_since" -j "$_ids"
      printf '\nstatus %s\n' $?
    done; } | awk -F '|' -v word="$WORD" -v uid="$(id -u)" "$slurm_accounting_rows")
  _status=$?
  slurm_say "$_rows"
  if [ $_status = 0 ]; then echo accounting complete; elif slurm_no_accounting; then echo accounting none; else echo accounting failed; fi
}

slurm_no_accounting() { case $(slurm_config AccountingStorageType) in accounting_storage/none | '(null)') ;; *) return 1 ;; esac; }

slurm_sacct() (
  slurm_clean
  ${BOUND% *} 10 sacct -n -P -X -D "$@" </dev/null 2>/dev/null \
    --format=JobIDRaw,Submit,State,ExitCode,Start,End,Timelimit,Partition,NodeList,UID
)

# One row per attempt, in whatever order. They are numbered by their submit times, from the one that is ours to the second,
# and as long as the one before may come again and the next follows it: a requeue is submitted when the attempt before it
# ends, or once its nodes let it go (600 s). After a plain end, or later, or where it is the first of another job of ours or
# somebody else's, the same id is another job.
slurm_accounting_rows="$slurm_words"'
  !rows && $0 == "--" { rows = 1; next }
  !rows { split($0, job, " "); order[++n] = job[1] " " job[2]; begins[job[1], job[2]] = 1; next }
  $0 ~ /^status / { if ($0 != "status 0") failed = 1; next }
  NF == 10 && $1 ~ /^[0-9]+$/ && $2 ~ /^[0-9]+$/ {
    if ($10 != uid && $10 != 0) next
    if (!(($1, $2) in row)) { at = ++count[$1]; while (at > 1 && time[$1, at - 1] + 0 > $2 + 0) { time[$1, at] = time[$1, at - 1]; at-- }; time[$1, at] = $2 }
    row[$1, $2] = $0; next }
  $0 != "" { failed = 1 }
  END {
    for (i = 1; i <= n; i++) { split(order[i], job, " "); id = job[1]; attempt = 0
      for (k = 1; k <= count[id]; k++) {
        if (!attempt && time[id, k] != job[2]) continue
        $0 = row[id, time[id, k]]
        if (attempt && (end ~ /^[0-9]+$/ && $2 - end > 600 || (id, $2) in begins)) break
        attempt++; end = $6
        print "a|" word "|" id "|" attempt "|" $2 "|" $3 "|" $4 "|" $5 "|" $6 "|" $7 "|" $8 "|" $9 "|" \
          ($3 == "CANCELLED by " uid ? "mine" : "") ($2 == job[2] ? "" : "|" job[2])
        split($3, first, " "); if (first[1] in over) break } }
    exit failed }'

# slurm_endings: "ID ATTEMPT SUBMITTED LINE", the latest attempt first. An attempt that was requeued has an ending once a later
# one has. The queue forgets soon: where accounting does not answer, its word is kept. There a job that comes back by itself
# is listed as completing and then as waiting, never as preempted or failed with its node: what is, is over.
slurm_endings() {
  awk -F '|' -v word="$WORD" -v now="${NOW:-$(date +%s)}" "$slurm_words"'
    $1 == "accounting complete" { complete = 1 }
    ($1 == "q" || $1 == "a") && $2 == word && (NF == 13 || NF == 14) { line[++n] = $0 }
    END { for (i = n; i; i--) {
        $0 = line[i]; split($6, first, " "); job = $3 " " (NF == 14 ? $14 : $5)
        if ($1 == "q" && complete) continue
        ended = first[1] in over || ((first[1] in perhaps) && ($1 == "q" || $9 !~ /^[0-9]+$/ || now - $9 > 900)) || ($1 == "a" && later == job)
        if (!ended) continue
        later = job; text = $1; for (k = 3; k <= NF; k++) text = text "|" $k
        print $3, $4, (NF == 14 ? $14 : $5), text } }'
}

# slurm_live: "ID ATTEMPT SUBMITTED" of each that has not ended.
slurm_live() {
  awk -F '|' -v word="$WORD" "$slurm_words"' $1 == "q" && $2 == word && (NF == 13 || NF == 14) && !($6 in over || $6 in perhaps) {
    print $3, $4, (NF == 14 ? $14 : $5) }'
}

# slurm_all_live: $answer says at a glance that every job it was asked about lives, so it proves nothing new: accounting is
# asked about each that does not.
slurm_all_live() { case $answer in *'accounting unasked') ;; *) return 1 ;; esac; }

# A name that Slurm's lists of names take for one name.
slurm_name() { case $1 in '' | *[!A-Za-z0-9._+-]*) return 1 ;; esac; }

# slurm_end_earlier NAME ID: one that waits under that name, and is not ID, is cancelled. 1: none was.
slurm_end_earlier() (
  slurm_name "$1" || return 1
  _id=$(slurm_squeue --name="$1" | awk -v mine="$2" "$slurm_columns"' cut_row() && state == "PENDING" && id != mine { print id; exit }')
  [ -n "$_id" ] || return 1
  slurm_clean
  $BOUND scancel --state=PENDING --name="$1" "$_id" </dev/null >/dev/null 2>&1
)

# ---- acting: sent along only where something is to be done ----
# slurm_find NAME: "ID SUBMITTED listed" of the queue's, else "ID SUBMITTED" of accounting's, by exact name. With a list of states, sacct shows what was cancelled while held, which it else omits.
# Of this user's jobs alone: another could give a job of theirs this name. What accounting keeps under a wrong user is
# missed; a job that is looked for by name was never released, so that it cannot have run, and none runs twice.
slurm_find() {
  slurm_name "$1" && slurm_up || return 1
  _queue=$({ slurm_squeue --name="$1"; printf '\nstatus %s\n' $?; } | awk "$slurm_columns"'
    $1 == "status" { status = $2; next } $0 == "" { next } cut_row() { print id, submit, "listed"; next } { odd = 1 } END { exit status != 0 || odd }') || return 1
  [ -z "$_queue" ] || { printf '%s\n' "$_queue"; return 0; }
  _rows=$(slurm_sacct -u "$(id -u)" --name="$1" -S "$(slurm_day_before 8)" -E now -s CA,CD,F,TO,NF,BF,PR,RQ,DL,OOM,PD,R,S) || { slurm_no_accounting; return; }
  printf '%s\n' "$_rows" | awk -F '|' '$1 ~ /^[0-9]+$/ && $2 ~ /^[0-9]+$/ && (!($1 in first) || $2 + 0 < first[$1] + 0) { first[$1] = $2 }
    END { for (id in first) print id, first[id] }'
}

slurm_day_before() { awk -v now="${NOW:-$(date +%s)}" -v days="$1" "$slurm_date"' BEGIN { print day(now - days * 86400) }'; }

# slurm_submit_held NAME SCRIPT: "ID" (slurm_find has its submit time), or one sentence on stderr. 75: not known whether it was taken.
# The job must not inherit what this program set for itself, nor the Slurm job that a login shell may stand in.
slurm_submit_held() {
  slurm_name "$1" || { echo "The name $1 cannot be given to a Slurm job." >&2; return 2; }
  _said=$(as_person; unset $(env | sed -n 's/^\(SLURM_[A-Z0-9_]*\)=.*/\1/p' | grep -v '^SLURM_CONF$') SBATCH_WAIT SBATCH_ARRAY_INX
    $BOUND sbatch --parsable --hold --job-name="$1" "$2" </dev/null 2>&1)
  _status=$?
  _id=$(printf '%s\n' "$_said" | awk '/^[0-9]+(;[A-Za-z0-9._-]+)?$/ { split($0, part, ";"); id = part[1] } END { print id }')
  if [ $_status = 0 ] && [ -n "$_id" ]; then printf '%s\n' "$_id"; return 0; fi
  case $_status:$_said in
    0:* | 124:* | 13[0-9]:* | 14[0-9]:* | *'imed out'* | *'Unable to contact'* | *'Zero Bytes'* | *'onnection '* | *'ommunication'* | \
      *'temporarily'* | *'endpoint'* | *'nexpected message'* | *'ead failure'* | *'eceive failure'*)
      echo "Slurm did not say whether it took the job." >&2; return 75 ;;
  esac
  printf '%s\n' "$_said" | slurm_sentence "Slurm refused the job" >&2
  return 1
}

# What a command of Slurm complains of, as one sentence.
slurm_sentence() {
  awk -v what="$1" '{ sub(/^[a-z]+: (error: )?/, ""); sub(/^Batch job submission failed: /, ""); gsub(/[\001-\037\177]/, " "); gsub(/ +$/, "") }
    $0 != "" && length(text) < 300 { text = text (text == "" ? "" : text ~ /[.:]$/ ? " " : "; ") $0 }
    END { if (text == "") text = "no reason was given"; text = substr(text, 1, 400); print what ": " text (text ~ /[.!?]$/ ? "" : ".") }'
}

# slurm_waits ID SUBMITTED: whether the queue lists this very job, first attempt. 2: it did not answer.
slurm_waits() {
  { slurm_up && slurm_squeue; printf '\nstatus %s\n' $?; } | awk -v of="$1 $2" "$slurm_columns"'
    $1 == "status" { status = $2; next } cut_row() && id " " submit == of { found = 1 } END { exit status != "0" ? 2 : !found }'
}

# slurm_release ID NAME: its own name first (or the token stands in %x file names), then the release. A job that is past
# waiting has been released, by whomever. 75: not known.
slurm_release() {
  case $1 in '' | *[!0-9]*) echo "$1 is not the id of a Slurm job." >&2; return 2 ;; esac
  case $2 in '' | *"$slurm_nl"*) ;; *) $BOUND scontrol update "JobId=$1" "JobName=$2" </dev/null >/dev/null 2>&1 ;; esac
  _said=$($BOUND scontrol release "$1" </dev/null 2>&1) && return 0
  case $_said in *'already'*'finished'* | *'nvalid job id'* | *'no longer pending'* | *'ompleting or completed'*) return 0 ;; esac
  case $(slurm_squeue -j "$1" | awk "$slurm_columns"' cut_row() { print state }') in '' | *PENDING*) ;; *) return 0 ;; esac
  slurm_up || return 75
  printf '%s\n' "$_said" | slurm_sentence "Slurm did not release the job" >&2
  return 1
}

# slurm_cancel [NAME]: stdin ids; with NAME only those that have it, since an id may be another job's by now. (Then what was cut
# off counts as not told.)
# Says which of them Slurm was not told of, and at the end of the list repeats its mark. (That it was told is no evidence:
# scancel ends 0 for a job that never was; and what was cut off may have arrived.)
slurm_cancel() {
  _only=${1:+--name=$1}
  awk '{ last = $0 } /^[0-9]+$/ { line = line " " $0; if (++n % 200 == 0) { print line; line = "" } }
    END { if (line != "") print line; if (last == "~") print last }' | {
    slurm_clean
    while IFS= read -r _ids; do
      [ "$_ids" != '~' ] || { echo '~'; break; }
      $BOUND scancel $_only $_ids </dev/null >/dev/null 2>&1
      case $?,$1 in 0,* | 124, | 13[0-9], | 14[0-9],) ;; *) printf '%s\n' $_ids ;; esac
    done
  }
}

# What a job's script learns of itself from Slurm: its id, and which attempt it is.
slurm_identity='remotejobs_id=$SLURM_JOB_ID
remotejobs_attempt=$((${SLURM_RESTART_COUNT:-0} + 1))'

# slurm_header NAME=VALUE...: the lines of a script's head, as slurm.py has them.
slurm_header() {
  for _option do
    _value=${_option#*=}
    case $_option in
      walltime=*) printf '#SBATCH --time=%d-%02d:%02d:%02d\n' $((_value / 86400)) $((_value / 3600 % 24)) $((_value / 60 % 60)) $((_value % 60)) ;;
      cores=*) printf '#SBATCH --%s\n' ntasks=1 "cpus-per-task=$_value" ;;
      memory=*) printf '#SBATCH --mem=%sM\n' "$_value" ;;
      partition=*) printf '#SBATCH --partition=%s\n' "$_value" ;;
      *) return 1 ;;
    esac
  done
}
