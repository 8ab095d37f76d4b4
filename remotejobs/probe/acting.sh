# acting.sh: what is done or asked for beyond reading, and the proof of it.

# make APP: enters it, making it first where it is missing or empty. Several may do so at once.
make() {
  enter "$1"
  case $? in 0) return 0 ;; 2) return 1 ;; esac
  trouble='full'
  mkdir -m 700 "$HOME/.$1" 2>/dev/null
  [ -d "$HOME/.$1" ] || { [ -w "$HOME" ] || trouble='read-only'; return 1; }
  cd "$HOME/.$1" || return 1
  if [ ! -s version ]; then
    printf 'remotejobs 1\n%s\n' "$WORD" >".version.$WORD" && [ "$(tail -n 1 ".version.$WORD")" = "$WORD" ] && ln ".version.$WORD" version
    rm -f ".version.$WORD"
    # Without it, whatever else is in the folder would make it a foreign one for ever.
    [ -s version ] || return 1
  fi 2>/dev/null
  mkdir -p runs sealed actions trash hosts && mkdir -p facts settings  # these last: they say that it is whole
  enter "$1"
  _entered=$?
  [ "$_entered" != 1 ] || trouble='full'  # it could not be made whole
  return "$_entered"
}

# is_whole FILE: a file of facts came to the disk whole: a quota error shows only at close, and not in the shell's status.
is_whole() { [ "$(tail -n 1 "$1" 2>/dev/null)" = end ]; }

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

# prove: what was done is seen by looking once more; a scheduler that was told to stop a job takes a moment.
prove() {
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
