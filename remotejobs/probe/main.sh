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

main() {
  sources= cancels= submissions= questions= cleanings= open= asked_login= acted= cancelled_facts= R= _told= seen= known= looked_again=
  read_request || { echo "remotejobs: the request was cut"; exit 65; }
  exec </dev/null
  echo  # login files may have printed something without an end of line
  say hello "$PROBE" - "$HOST" "$SYSTEM" ${GATE:+narrow "$GATE"}
  case $SYSTEM in Linux) ;; *) say trouble not-linux; say bye; exit ;; esac
  [ -z "$cancels$submissions$questions$cleanings" ] || tell_time
  all_records
  [ -z "$cancels" ] || cancel_targets
  [ -z "$cleanings" ] || seal_targets
  queues
  [ -z "$cancels" ] || { cancels; say closed cancels 0; }
  [ -z "$submissions" ] || { all_submissions; say closed submissions 0; }
  [ -z "$questions" ] || answers
  [ -z "$cleanings" ] || cleanings
  [ -z "$acted" ] || prove
  [ -z "$cancelled_facts" ] || each_app "$cancelled_facts"
  [ -z "$acted$cancelled_facts" ] || look_again
  say bye
}

main
