# cancel.sh: stopping jobs.

# ---- cancelling: nothing is claimed here, so that a full disk cannot stop it; the queue was read just before ----
# cancels: for every line of $cancels. What may be stopped goes to its scheduler in one command per kind.
cancels() {
  IFS=$NL
  for _line in $cancels; do
    unset IFS
    check_cancel $_line || settled $_uuid $_state $_key "$_id" $_code $_text
    IFS=$NL
  done
  unset IFS
  [ -n "$_told" ] || return 0
  for _kind in $KINDS; do
    _missed=$(printf '%s' "$_told" | awk -v kind="$_kind" '
      $3 == kind { print $4 (kind == "process" ? " " $6 " " $7 " " $8 " " $9 : "") } END { print "~" }' | "${_kind}_cancel" 2>/dev/null)
    case $_missed in '~') ;; *'~') not_told ;; *) _missed=all not_told ;; esac
  done
  [ -z "$_told" ] || acted=yes
}

# not_told: of $_kind, what stands in $_missed was not told to its scheduler: if it is no more afterwards, that was not us.
# What was told by an earlier exchange stays told.
not_told() {
  _rest= _marks=
  IFS=$NL
  for _line in $_told; do
    unset IFS
    set -- $_line
    case $3,$9,$NL$_missed in
      "$_kind,-,"*"$NL$4$NL"* | "$_kind,-,${NL}all")
        enter "$2" && _marks="$_marks $R/runs/$5/.told"
        settled "$1" unknown "$5" "$4" not-told ;;
      *) _rest=$_rest$_line$NL ;;
    esac
    IFS=$NL
  done
  unset IFS
  _told=$_rest
  rm -f $_marks
}

# cancel_targets: the jobs that are to be cancelled are asked about too, also those whose end is known: they may have been
# requeued since.
cancel_targets() {
  IFS=$NL
  for _line in $cancels; do
    unset IFS
    set -- $_line
    case $open in *" $3 "*) IFS=$NL; continue ;; esac
    is_key "$3" && enter "$2" && known_id "$3" &&
      open="$open$f_scheduler $f_cluster $2 0 0 $f_id $f_submitted $f_attempt $3 $f_sid $f_start_ticks $f_boot$NL"
    IFS=$NL
  done
  unset IFS
}

# check_cancel UUID APP KEY SENT: 0 when it goes to the scheduler (it is in $_told then), else the outcome is set.
check_cancel() {
  _uuid=$1 _key=$3 _id=- _state=refused _code=no-job _text=
  is_uuid "$1" && is_key "$3" || return 1
  # A registry that is not there, or cannot be read, may be there again: only one that was read has no such job.
  enter "$2"
  case $? in 1) _state=unknown _code=absent; return 1 ;; 2) _state=unknown _code=$trouble; return 1 ;; esac
  if ! known_id "$3"; then
    without_id "$3"
    return 1
  fi
  eval "_asked=\${asked_$f_scheduler:-1} _cluster=\${cluster_$f_scheduler:--} _answer=\${answer_$f_scheduler:-}"
  _id=$f_id _state=unknown _code=queue-silent
  [ "$_cluster" = - ] || [ "$_cluster" = "$f_cluster" ] || { _state=refused _code=elsewhere _text=$f_cluster; return 1; }
  [ "$_asked" = 0 ] && was_asked "$3" || return 1
  # A mark of having told it, as far as the disk lets us: whoever comes next knows, and a process is killed then.
  _sent=$4
  [ -e "runs/$3/.told" ] && _sent=sent
  case $(listed "$3") in
    live) ;;
    over)
      _state=done _code=was-over
      [ "$_sent" = sent ] && ! ended_by_itself "$3" && is_cancelled "$1" "$2" "$3" && _code=is-cancelled
      return 1 ;;
    *) return 1 ;;
  esac
  (: >"runs/$3/.told") 2>/dev/null
  _told="$_told$1 $2 $f_scheduler $f_id $3 ${f_sid:--} ${f_start_ticks:--} ${f_boot:--} $_sent $f_attempt$NL"
}

# without_id KEY: the outcome for a job of which no id could be read. It is over only if it was pruned.
without_id() {
  [ ! -e "facts/$1.id" ] || { _state=unknown _code=unreadable; return; }
  was_sealed "$1"
  case $? in
    0) is_there "$1"; [ $? = 1 ] && _state=done _code=was-over || _state=unknown _code=unreadable ;;
    1) [ ! -e "settings/$1.json" ] || _state=not_started _code=not-submitted ;;
    *) _state=unknown _code=unreadable ;;
  esac
}

# was_asked KEY: whether the queue's answer speaks of the job at all. Only then it can lack it.
was_asked() {
  printf '%s\n' "$_answer" | awk -F '|' -v id="$f_id" -v key="$1" -v submitted="$f_submitted" '
    ($1 == "q" || $1 == "n") && ($3 == key || $3 == id && $(NF == 13 ? 5 : NF) == submitted) { found = 1 } END { exit !found }'
}

# ended_by_itself KEY: its last attempt left the exit code 0, so whatever we told the scheduler came too late.
ended_by_itself() {
  [ "$f_code" != 0 ] || return 0
  _exit=facts/$1.exit.$f_attempt
  [ -f "$_exit" ] && [ ! -h "$_exit" ] || return 1
  while read -r _word; do [ "$_word" != code=0 ] || return 0; done <"$_exit"
  return 1
}

# listed KEY: "live" if the answer of its scheduler lists it as not ended, "over" if not, and nothing where something died while
# that was found out. The id alone is not believed, it may be another job's.
listed() {
  { printf '%s\n' "$_answer" | "${f_scheduler}_live"; printf '~ %s\n' $?; } |
    awk -v id="$f_id" -v key="$1" -v submitted="$f_submitted" '
      $1 == "~" { whole = $2 == 0 }
      $1 == key || $1 == id && $3 == submitted { found = 1 }
      END { if (whole) print found ? "live" : "over" }'
}

# still_live: whether any job that was told to end is still listed.
still_live() {
  [ -n "$(printf '%s' "$_told" | while read -r _uuid _app f_scheduler f_id _key f_sid _ticks _boot _sent _attempt; do
    enter "$_app" && known_id "$_key" && eval "_asked=\${asked_$f_scheduler:-1} _answer=\${answer_$f_scheduler:-}" &&
      [ "$_asked" = 0 ] && [ "$(listed "$_key")" = live ] && echo yes
  done)" ]
}

# proofs: after the queue was read once more, says of each cancelled job whether it is gone.
proofs() {
  IFS=$NL
  for _line in $_told; do
    unset IFS
    set -- $_line
    eval "_asked=\${asked_$3:-1} _answer=\${answer_$3:-}"
    if [ -z "$looked_again" ] || [ "$_asked" != 0 ] || ! { enter "$2" && known_id "$5"; } || ! was_asked "$5" ||
      [ "$(listed "$5")" != over ]; then
      settled "$1" unknown "$5" "$4" told
    elif ended_by_itself "$5"; then
      settled "$1" done "$5" "$4" was-over
    else
      is_cancelled "$1" "$2" "$5"
      settled "$1" done "$5" "$4" is-cancelled
    fi
    IFS=$NL
  done
  unset IFS
}

# is_cancelled UUID APP KEY: it was us who ended that attempt.
is_cancelled() { look_at_clock; cancelled_facts="$cancelled_facts$2$TAB$3.cancel.$f_attempt${TAB}action=$1${TAB}time=$now$NL"; }

settled() { say outcome "$@"; }

# read_id KEY: the words of its `id` fact as f_scheduler, f_id, ...; 1 if there is none.
read_id() {
  f_scheduler=- f_cluster=- f_id=- f_submitted=- f_sid=- f_start_ticks=- f_boot=- f_attempt=1 f_code=- _end=
  [ -f "facts/$1.id" ] || return 1
  while IFS='=' read -r _word _value; do
    case $_value in *[!A-Za-z0-9._:+-]*) _value=- ;; esac
    case $_word in
      scheduler | cluster | id | submitted | sid | start_ticks | boot) eval "f_$_word=\$_value" ;;
      end) _end=yes; break ;;
    esac
  done <"facts/$1.id"
  live_attempts "$1"
  [ -n "$_end" ] && is_kind "$f_scheduler"
}

live_attempts() {
  set +f
  for _fact in facts/"$1".*.[0-9]*; do [ "${_fact##*.}" -gt "$f_attempt" ] 2>/dev/null && f_attempt=${_fact##*.} f_code=-; done
  set -f
}

# known_id KEY: as read_id, of a job that was sealed too.
known_id() { read_id "$1" || { [ ! -e "facts/$1.id" ] && sealed_id "$1" && live_attempts "$1"; }; }

# sealed_id KEY: as read_id, of a job that was sealed; f_code is the exit code of its highest attempt.
sealed_id() {
  _held=$(printf '%s\n' "$1" | sealed_files) || return 1
  _fact=
  IFS=$NL
  for _line in $_held; do
    _value=${_line#*=}
    case $_line in
      'file '*) _fact=${_line#file ????????????????????????????????_*.}
        case $_fact in *.*[!0-9]* | *.) ;; *.*) [ "${_fact##*.}" -le "$f_attempt" ] || { f_attempt=${_fact##*.} f_code=-; } ;; esac ;;
      *[!A-Za-z0-9._:+\|=-]*) ;;
      '|code='*) [ "$_fact" != "exit.$f_attempt" ] || f_code=$_value ;;
      '|scheduler='* | '|cluster='* | '|id='* | '|submitted='* | '|sid='* | '|start_ticks='* | '|boot='*)
        [ "$_fact" != id ] || { _word=${_line%%=*}; eval "f_${_word#|}=\$_value"; } ;;
    esac
  done
  unset IFS
  is_kind "$f_scheduler"
}
