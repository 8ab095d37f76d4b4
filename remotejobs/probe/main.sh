# main.sh: the request is read, and its parts are answered in their order.

# ---- the request ----
read_request() {
  IFS=$TAB read -r _hello _format WORD BUDGET && [ "$_hello" = remotejobs ] || return 1
  case $WORD in *[!0-9a-f]* | '') return 1 ;; esac
  case $BUDGET in *[!0-9]* | '') return 1 ;; esac
  while IFS=$TAB read -r _verb _rest; do
    case $_verb in
      source) sources="$sources$_rest$NL" ;;
      cancel) cancels="$cancels$_rest$NL" ;;
      submit | resubmit) submissions="$submissions$_verb$TAB$_rest$NL" ;;
      seal | prune) cleanings="$cleanings$_verb$TAB$_rest$NL" ;;
      claimed | detect | look | clean) questions="$questions$_verb$TAB$_rest$NL" ;;
      end) return 0 ;;
    esac
  done
  return 1
}

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
    if ! has_time; then settled "$2" not_started - - no-time
    elif [ "$1" = submit ]; then
      document=$(printf '%s' "$7" | base64 -d 2>/dev/null)
      submission "$2" "$3" "$4" "$5" "$6"
    else resubmission "$2" "$3" "$4" "$5"
    fi
    IFS=$NL
  done
  unset IFS
}

# resubmission UUID APP KEY ASKED
resubmission() {
  is_key "$3" || { settled "$1" refused - - no-job; return; }
  enter "$2"
  case $? in 1) settled "$1" unknown - - absent; return ;; 2) settled "$1" unknown - - "$trouble"; return ;; esac
  kept "$3"
  case $? in
    0) belongs_here "$1" "$3" && submission "$1" "$2" "${3%_*}" "$(member scheduler)" "$4" again ;;
    1) settled "$1" refused - - no-job ;;
    *) settled "$1" unknown - - unreadable ;;
  esac
}

# belongs_here UUID KEY: whether the job that is to run again is of this cluster or host; else that is the outcome. What was
# begun goes on, wherever it was.
belongs_here() {
  is_uuid "$1" && [ ! -d "actions/$1" ] || return 0
  _origin=$(ran_at "$2") _kind=$(member scheduler)
  [ -n "$_origin" ] && is_kind "$_kind" && here "$_kind" && _here=$("${_kind}_cluster" 2>/dev/null) || return 0
  [ "$_origin" = "$_here" ] || { settled "$1" refused - - elsewhere "$_origin"; return 1; }
}

answers() {
  IFS=$NL
  for _line in $questions; do
    IFS=$TAB
    set -- $_line
    unset IFS
    case $1 in
      # Its commands alone are no batch system: somebody has to answer them.
      detect) for _kind in $KINDS; do here "$_kind" && "${_kind}_cluster" >/dev/null 2>&1 && say here "$_kind"; done ;;
      claimed) is_hash "$3" && claimed "$2" "$3" ;;
      look) look "$2" "$3" ;;
      clean) is_key "$3" && enter "$2" && clean_run "$3" ;;
    esac
    IFS=$NL
  done
  unset IFS
}

# claimed APP HASH: the highest n of this work; 0 where there is no registry. Nothing is said where it is not known.
claimed() {
  enter "$1"
  case $? in 0) _n=$(next_n "$2") && say claimed $((_n - 1)) ;; 1) say claimed 0 ;; esac
}

# clean_run KEY: the run folder of a job that has ended goes to the trash; its record stays. (That of a sealed one has gone.)
clean_run() {
  read_id "$1" || return 0
  set -- "$1" facts/"$1".exit."$f_attempt" facts/"$1".sched."$f_attempt" facts/"$1".gone."$f_attempt"
  [ -e "$2" ] || [ -e "$3" ] || [ -e "$4" ] || return 0
  # A folder per exchange, whose time is when something was last moved into it.
  [ -d "runs/$1" ] && { mkdir "trash/$WORD"; mv "runs/$1" "trash/$WORD/"; } 2>/dev/null
  [ -d "runs/$1" ] || printf '%s\n' "$1.cleaned${TAB}time=$(date +%s)" | put_facts
}

# look FOLDER FILE (both base64): the text of a script that lies on the server already, to be kept with the record.
look() {
  _folder=$(printf '%s' "$1" | base64 -d; echo /) _file=$(printf '%s' "$2" | base64 -d)
  case $_folder in '~/'*) _folder=$HOME/${_folder#??} ;; esac
  cd "$HOME" 2>/dev/null; cd -- "$_folder" 2>/dev/null && [ -f "$_file" ] && [ -r "$_file" ] || return 0
  [ "$(head -c 262145 "$_file" | wc -c)" -le 262144 ] || return 0
  say text "$(base64 <"$_file" | tr -d "$NL")"
}

main() {
  sources= cancels= submissions= questions= cleanings= open= asked_login= acted= cancelled_facts= R= _told= seen= known= looked_again=
  read_request || { echo "remotejobs: the request was cut"; exit 65; }
  exec </dev/null
  echo  # login files may have printed something without an end of line
  say hello "$PROBE" "$NOW" "$HOST" "$SYSTEM"
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
