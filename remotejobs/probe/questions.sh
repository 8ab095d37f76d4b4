# questions.sh: what is asked outside a sync, before a submission or by a person.

# Its commands alone are no batch system: somebody has to answer them.
question_detect() { for _kind in $KINDS; do here "$_kind" && "${_kind}_cluster" >/dev/null 2>&1 && say here "$_kind"; done; }

# question_claimed APP HASH: the highest n of this work; 0 where there is no registry. Nothing is said where it is not known.
question_claimed() {
  is_hash "$2" || return 0
  enter "$1"
  case $? in 0) _n=$(next_n "$2") && say claimed $((_n - 1)) ;; 1) say claimed 0 ;; esac
}

# question_clean APP KEY: the run folder of a job that has ended goes to the trash; its record stays. (That of a sealed one has gone.)
question_clean() {
  is_key "$2" && enter "$1" && read_id "$2" || return 0
  set -- "$2"
  set -- "$1" facts/"$1".exit."$f_attempt" facts/"$1".sched."$f_attempt" facts/"$1".gone."$f_attempt"
  [ -e "$2" ] || [ -e "$3" ] || [ -e "$4" ] || return 0
  # A folder per exchange, whose time is when something was last moved into it.
  [ -d "runs/$1" ] && { mkdir "trash/$WORD"; mv "runs/$1" "trash/$WORD/"; } 2>/dev/null
  [ -d "runs/$1" ] || printf '%s\n' "$1.cleaned${TAB}time=$(date +%s)" | put_facts
}

# question_look FOLDER FILE (both base64): the text of a script that lies on the server already, to be kept with the record.
question_look() {
  _folder=$(printf '%s' "$1" | base64 -d; echo /) _file=$(printf '%s' "$2" | base64 -d)
  case $_folder in '~/'*) _folder=$HOME/${_folder#??} ;; esac
  cd "$HOME" 2>/dev/null; cd -- "$_folder" 2>/dev/null && [ -f "$_file" ] && [ -r "$_file" ] || return 0
  [ "$(head -c 262145 "$_file" | wc -c)" -le 262144 ] || return 0
  say text "$(base64 <"$_file" | tr -d "$NL")"
}
