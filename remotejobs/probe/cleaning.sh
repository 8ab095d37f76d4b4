# cleaning.sh: what a cleaning needs besides the sealing, the trash and the pruning. A process that died is never read as "nothing
# there": each list that decides what is moved or removed ends with a mark, and without the mark nothing is.

# refer AGE NAME: $T.NAME, a file that is AGE seconds old by the file system's own clock, which is not always ours. Not all file
# systems know a time before 1970, so what they made of it is read back.
refer() {
  _then=$((FILE_NOW > $1 ? FILE_NOW - $1 : 0))
  printf '' >"$T.$2" && touch -d "@$_then" "$T.$2" && [ "$(stat -c %Y "$T.$2")" = "$_then" ]
}

# prepare SETTLED TRASH ("-": it is not emptied): the files to compare ages with. An empty file can be made on a full disk, a
# folder cannot.
prepare() {
  T=actions/seal.$WORD
  printf '' >"$T.now" && FILE_NOW=$(stat -c %Y "$T.now") || return 1
  SETTLED_FOR=$(($1 > 86400 ? $1 : 86400))
  refer $SETTLED_FOR settled && refer 604800 lost && { [ "$2" = - ] || refer "$2" trash; } && refer 86400 day && refer 2592000 month
}

done_with() { set +f; rm -f "$T".*; set -f; }

# is_cleaning VERB APP LIMIT AGE TRASH MODE: the numbers of at most ten digits (300 years).
is_cleaning() {
  case $6 in do | look) ;; *) return 1 ;; esac
  for _number in "$3" "$4" "${5#-}"; do
    case $_number in 0) ;; '') [ "$5" = - ] || return 1 ;; 0* | *[!0-9]* | ???????????*) return 1 ;; esac
  done
  [ -n "$3" ] && [ -n "$4" ] && [ "$3" -le 5000 ]
}

# each_cleaning COMMAND: calls it for every line of $cleanings, its words checked.
each_cleaning() {
  _command=$1
  IFS=$NL
  for _line in $cleanings; do
    IFS=$TAB
    set -- $_line
    unset IFS
    ! is_cleaning "$@" || "$_command" "$@"
    IFS=$NL
  done
  unset IFS
}

# cleanings: says "cleaned APP RECORDS FOLDERS EMPTIED MORE" or "pruned APP RECORDS BATCHES 0 MORE" of each line. What it does
# not say is not known.
cleanings() { each_cleaning cleaning; }
cleaning() {
  records=0 folders=0 emptied=0 more=0
  case $1 in seal) _said=cleaned ;; prune) _said=pruned ;; esac
  enter "$2"
  case $? in 1) say $_said "$2" 0 0 0 0; return ;; 2) return ;; esac
  if ! has_time; then more=1
  elif prepare "$4" "$5"; then "$1_$6" "$2" "$3"
  else done_with; return
  fi
  done_with
  say $_said "$2" $records $folders $emptied $more
}

# live_names: $names, or there is no knowing what lives.
live_names() { names=$(ls settings facts 2>/dev/null) || { more=1; return 1; }; }

# whole LIST: $list without the mark at its end; "~more" there says that it is not all. Without a mark it is no list.
whole() {
  list=
  case $NL$1 in *"$NL~more") more=1 ;; *"$NL~") ;; *) more=1; return 1 ;; esac
  list=${1%'~'*}
  list=${list%"$NL"}
}

# batches: those that readers are sent.
batches() {
  set +f
  for _batch in sealed/*.gz; do ! is_plain "$_batch" || echo "$_batch"; done
  set -f
}
