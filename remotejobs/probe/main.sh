# main.sh: the parts of the request are answered in their order.

# all_records: the first part, for every source; gathers the open jobs of all of them.
all_records() {
  IFS=$NL
  for _source in $sources; do
    unset IFS
    set -- $_source
    say source "$1"
    enter "$1"
    case $? in
      0)
        records "$2" "$3" "$4" "$5" && still_open "$1" && { [ "$5" != whole ] || beside "$_open" "$4"; }
        _status=$?
        # One that failed is not looked at again: `same` would then speak of what was never sent.
        if [ "$_status" = 0 ]; then seen="$seen$1 $total ${known:--}$NL" open="$open$_open$NL"; else _status=1; say trouble "$trouble"; fi ;;
      1) _status=0; seen="$seen$1 - -$NL"; say absent ;;
      *) _status=1; say trouble "$trouble" ;;
    esac
    say closed source "$1" "$_status"
    IFS=$NL
  done
  unset IFS
}

# queues: each scheduler that has an open job of ours here, or a job to cancel, is asked once.
queues() {
  for _kind in $KINDS; do
    has_open "$_kind" || { [ -n "$cancels" ] && here "$_kind"; } || continue
    ask "$_kind"
    keep "$_kind"
    eval "answer_$_kind=\$answer asked_$_kind=\$asked cluster_$_kind=\$cluster"
  done
}

has_open() { case $NL$open in *"$NL$1 "*) ;; *) return 1 ;; esac; }

all_submissions() {
  IFS=$NL
  for _line in $submissions; do
    IFS=$TAB
    set -- $_line
    unset IFS
    _verb=$1
    shift
    if ! has_time; then settled "$1" not_started - - no-time
    else case $_verb in submit) submit_new "$@" ;; resubmit) resubmission "$@" ;; esac
    fi
    IFS=$NL
  done
  unset IFS
}

# answers: a line of the request, a function; those for what this program does not offer are not in it.
answers() {
  IFS=$NL
  for _line in $questions; do
    IFS=$TAB
    set -- $_line
    unset IFS
    _verb=$1
    shift
    "question_$_verb" "$@"
    IFS=$NL
  done
  unset IFS
}

main() {
  sources= cancels= submissions= questions= cleanings= open= asked_login= acted= cancelled_facts= R= _told= seen= known= looked_again=
  read_request || { echo "remotejobs: the request was cut"; exit 65; }
  exec </dev/null
  echo  # login files may have printed something without an end of line
  say hello "$PROBE" "$NOW" "$HOST" "$SYSTEM" ${GATE:+narrow "$GATE"}
  case $SYSTEM in Linux) ;; *) say trouble not-linux; say bye; exit ;; esac
  all_records
  [ -z "$cancels" ] || cancel_targets
  [ -z "$cleanings" ] || seal_targets
  queues
  [ -z "$cancels" ] || { cancels; say closed cancels 0; }
  [ -z "$submissions" ] || { all_submissions; say closed submissions 0; }
  [ -z "$questions" ] || answers
  [ -z "$cleanings" ] || cleanings
  # What was done is proved by looking once more; a scheduler that was told to stop a job takes a moment.
  if [ -n "$acted" ]; then
    if has_time; then
      all_open
      [ -z "$cancels" ] || cancel_targets
      queues; looked_again=yes
    fi
    for _wait in 1 2 3; do
      has_time && still_live || break
      sleep 0.5 2>/dev/null || sleep 1
      queues
    done
    proofs
  fi
  [ -z "$cancelled_facts" ] || each_app "$cancelled_facts"
  [ -z "$acted$cancelled_facts" ] || look_again
  say bye
}

# all_open: the open jobs again, with those that were submitted just now.
all_open() {
  open=
  IFS=$NL
  for _source in $seen; do
    unset IFS
    enter "${_source%% *}" && names=$(ls settings facts 2>/dev/null) && still_open "${_source%% *}" && open="$open$_open$NL"
    IFS=$NL
  done
  unset IFS
}

# look_again: the records once more, as far as they differ from what was sent: what was done now is seen now.
look_again() {
  IFS=$NL
  for _source in $seen; do
    unset IFS
    set -- $_source
    if enter "$1"; then
      say source "$1"
      records "$2" "$3" '*' && _status=0 || _status=1
      say closed source "$1" "$_status"
    fi
    IFS=$NL
  done
  unset IFS
}

main
