# main.sh: the parts of the request are answered in their order.

# all_records: the first part, for every source; gathers the open jobs of all of them.
all_records() {
  IFS=$NL
  for _source in $sources; do
    unset IFS
    set -- $_source
    note source "$1"
    enter "$1"
    case $? in
      0)
        records "$2" "$3" "$4" "$5" && still_open "$1" && look_for_earlier && { [ "$5" != whole ] || { more; beside "$_open" "$4"; }; }
        _status=$?
        # One that failed is not looked at again: `same` would then speak of what was never sent.
        if [ "$_status" = 0 ]; then seen="$seen$1 $total ${known:--}$NL" open="$open$_open${_open:+$NL}"; else _status=1; note trouble "$trouble"; fi ;;
      1) _status=0; seen="$seen$1 - -$NL"; note absent ;;
      *) _status=1; note trouble "$trouble" ;;
    esac
    note closed source "$1" "$_status"
    IFS=$NL
  done
  unset IFS
}

main() {
  sources= cancels= submissions= questions= cleanings= open= earlier= asked_login= acted= cancelled_facts= R= _told= seen= known= looked_again=
  read_request || { echo "remotejobs: the request was cut"; exit 65; }
  exec </dev/null
  noted=$NL  # login files may have printed something without an end of line
  note hello "$PROBE" - "$HOST" "$SYSTEM" ${GATE:+narrow "$GATE"}
  case $SYSTEM in Linux) ;; *) say trouble not-linux; say bye; exit ;; esac
  [ -z "$cancels$submissions$questions$cleanings" ] || tell_time
  all_records
  [ -z "$open$earlier$cancels$submissions$questions$cleanings" ] || { more; further_parts; }
  say bye
}

main
