# submit.sh: starting jobs.

# ---- submitting, in two phases: claimed, held under a name that only this action has, recorded, read back, released ----
# Two of these may run at once for one action (a killed client's remote shell lives on): what decides is always a file
# that only one of them can create, and both read it back.
# submission UUID APP HASH KIND ASKED [again] (the document in $document); says the outcome.
submission() {
  uuid=$1 key=- id=- code=failed state=refused text=
  submit_steps "$@"
  settled "$uuid" "$state" "$key" "$id" "$code" "$text"
}

submit_steps() {
  is_uuid "$1" && is_hash "$3" && is_kind "$4" || { code=bad-words; return; }
  case $5 in '' | *[!0-9]*) code=bad-words; return ;; esac
  act=actions/$1 hash=$3 kind=$4
  enter "$2" && earlier_try && return
  [ $((NOW - $5)) -lt 604800 ] || { code=too-old; return; }
  # A registry that had the job a moment ago is away, and not to be made anew.
  if [ -n "$6" ]; then enter "$2" || { state=unknown code=${trouble:-absent}; return; }; else make "$2" || { code=$trouble; return; }; fi
  here "$kind" || { code=no-scheduler; return; }
  place=$("${kind}_cluster" 2>/dev/null) && [ -n "$place" ] || { state=unknown code=cannot-look; return; }
  mkdir "$act" 2>/dev/null
  _made=$?
  [ -d "$act" ] || { code=full; [ "$_made" -lt 128 ] || state=unknown code=failed; return; }
  code=full
  claim_key || { state=unknown; return; }
  code=failed
  [ "${key%_*}" = "$hash" ] || { state=refused code=other-work; return; }
  state=unknown
  # What was begun on another cluster or login node of this home cannot be looked for here.
  [ "${begun_at:-$place}" = "$place" ] || { code=begun-elsewhere text=$begun_at; return; }
  code=full
  lay_out || return
  code=failed
  "submit_$([ "$kind" = process ] && echo process || echo held)"
}

# earlier_try: whether one of this action came to its end, with the outcome set. What one has begun is not refused any more: it
# goes on, or is not known.
earlier_try() {
  [ -d "$act" ] || return 1
  state=unknown
  if [ -r "$act/refused" ]; then state=refused code=scheduler-refused text=$(head -n 1 "$act/refused"); return 0; fi
  read_key && [ "${key%_*}" = "$hash" ] && read_id "$key" && { [ "$f_scheduler" = process ] || [ -e "$act/released" ]; } || { key=-; return 1; }
  id=$f_id state=done code=submitted
}

# read_key: $key and $begun_at, as this action's first claim has them.
read_key() {
  begun_at=
  { IFS= read -r key && { IFS= read -r begun_at || :; }; } 2>/dev/null <"$act/key" || { key=-; return 1; }
  case $begun_at in *[!A-Za-z0-9._-]*) begun_at= ;; esac
  is_key "$key" || { key=-; return 1; }
}

# claim_key: $key becomes the key that this action has got, now or in an earlier try, and $begun_at the cluster (or host) of that.
claim_key() {
  _n=
  if [ ! -s "$act/key" ]; then
    _n=$(next_n "$hash") || { code=closed; return 1; }
    while :; do
      if mkdir "runs/${hash}_$_n" 2>/dev/null; then
        # Looked up after the mkdir: an n that was sealed meanwhile is not used twice. Over NFS a list of names may be
        # an old one, until somebody here has changed the folder.
        { printf '' >"sealed/.$WORD"; } 2>/dev/null && rm -f "sealed/.$WORD"
        _top=$(next_n "$hash" sealed) || { rmdir "runs/${hash}_$_n"; code=closed; return 1; }
        [ "$_top" -le "$_n" ] && break
        rmdir "runs/${hash}_$_n"; _n=$_top
      elif [ -d "runs/${hash}_$_n" ]; then _n=$((_n + 1))
      else return 1
      fi
    done
    printf '%s\n' "${hash}_$_n" "$place" >"$act/key.$WORD" && { IFS= read -r key && IFS= read -r _at; } <"$act/key.$WORD" &&
      [ "$key $_at" = "${hash}_$_n $place" ] && ln "$act/key.$WORD" "$act/key" 2>/dev/null
    rm -f "$act/key.$WORD"
    [ -s "$act/key" ] || { rmdir "runs/${hash}_$_n"; return 1; }  # a full disk: the number is not used up
  fi
  read_key || return 1
  [ -z "$_n" ] || [ "$key" = "${hash}_$_n" ] || rmdir "runs/${hash}_$_n" 2>/dev/null
  [ -d "runs/$key" ] || mkdir "runs/$key"
}

# next_n HASH [sealed]: one above the highest n of this work that is known (in the sealed batches alone, if so asked). 1: what
# is there could not all be read, and a number could be used twice.
next_n() {
  { { [ -n "$2" ] || ls settings runs; } && sealed_keys && printf '\n~\n'; } 2>/dev/null |
    awk -v start="$1_" '
      { whole = $0 == "~" }
      index($0, start) == 1 && substr($0, 34) ~ /^[1-9][0-9]?[0-9]?[0-9]?[0-9]?[0-9]?(\.json)?$/ { n = substr($0, 34) + 0; if (n > top) top = n }
      END { if (!whole) exit 1; print top + 1 }'
}

# member NAME: a text member of $document, which has one member per line. Not 0: it was killed, and what it printed is not all.
member() {
  printf '%s\n' "$document" | awk -v name="\"$1\": \"" '
    index($0, name) == 1 {
      text = substr($0, length(name) + 1); sub(/",?$/, "", text)
      n = split(text, part, "\\"); printf "%s", part[1]
      for (i = 2; i <= n; i++) {
        c = substr(part[i], 1, 1); rest = substr(part[i], 2)
        if (part[i] == "") printf "\\%s", part[++i]
        else if (c == "u") printf "%c%s", index("0123456789abcdef", substr(rest, 3, 1)) * 16 - 17 + index("0123456789abcdef", substr(rest, 4, 1)), substr(rest, 5)
        else printf "%s%s", c == "n" ? "\n" : c == "t" ? "\t" : c == "r" ? "\r" : c == "b" ? "\b" : c == "f" ? "\f" : c, rest
      }
      exit
    }'
}

# put FILE TEXT: writes it and reads it back, since a quota error may show only at close, where the shell does not look. Each has a
# name of its own: where it could not be removed, after it was linked, another text would be written into that file as well.
put() { printf '%s' "$2" >"$1" && printf '%s' "$2" | cmp -s - "$1"; } 2>/dev/null

# keep_settings: settings/KEY.json, from which on there is a job. A submission that was refused leaves no record of one.
keep_settings() {
  _tmp=$act/record.$WORD
  _text=$(printf '%s\n' "$document" | sed "1a\\
\"jobid\": \"$key\",") || return 1
  put "$_tmp" "$_text$NL" && take "$_tmp" "settings/$key.json" || [ -s "settings/$key.json" ]
  _kept=$?
  rm -f "$_tmp"
  return $_kept
}

# lay_out: runs/KEY/script and runs/KEY/command (the kept script of the person). Repeats change nothing. A part of it that was
# killed on the way would leave a job without its limits, or without anything to do.
lay_out() {
  _tmp=$act/script.$WORD
  shell=$(member shell) || { code=failed; return 1; }
  # A path, and perhaps -l: whatever else a record says there would be run.
  case ${shell%' -l'} in /*[!A-Za-z0-9/._-]* | [!/]* | '') shell=/bin/sh ;; esac
  _text=$(
    printf '#!%s\n' "$shell"
    member header || exit 1
    printf 'remotejobs_run=%s\n' "$R/runs/$key"
    eval "printf '%s\n' \"\$${kind}_identity\""
    printf '%s\n' "$remotejobs_wrapper"
    member job || exit 1
    printf 'remotejobs_main'
  ) || { code=failed; return 1; }
  put "$_tmp" "$_text$NL" && chmod 700 "$_tmp" && take "$_tmp" "runs/$key/script"
  _laid=$?
  rm -f "$_tmp"
  [ "$_laid" = 0 ] || [ -s "runs/$key/script" ] || return 1
  _tmp=$act/command.$WORD
  case $document in *'
"script": "'*)
    _text=$(member script && echo .) || { code=failed; return 1; }  # the dot keeps the newlines at its end
    put "$_tmp" "${_text%.}" && chmod 700 "$_tmp" && { take "$_tmp" "runs/$key/command" || [ -s "runs/$key/command" ]; }
    _laid=$?
    rm -f "$_tmp"
    return $_laid ;;
  esac
}

# held_name: what the job is called while it is held: its own name, as far as a scheduler takes that, and letters of the action. It
# is the same at every try, or what was handed over would not be found again.
held_name() {
  _name=$(member name) || return 1
  printf '%s\n' "$uuid" "$_name" | awk '
    NR == 1 { gsub(/-/, ""); for (i = 1; i <= 10; i++) letters = letters substr("abcdefghijklmnop", index("0123456789abcdef", substr($0, i, 1)), 1); next }
    { gsub(/[^A-Za-z0-9._+-]/, ""); name = name $0 }
    END { name = substr(name, 1, 40); print (name == "" ? "job" : name) "." letters }'
}

# A scheduler that can hold: the job waits under a name ending in the action's own letters until its id is recorded.
submit_held() {
  held=$(held_name) || return
  # On a home that several clusters share, a try may be continued on another one.
  if read_id "$key" && [ "$f_cluster" != "$place" ]; then code=begun-elsewhere text=$f_cluster; return; fi
  # Also where the id is recorded: a try that was killed, or that runs at the same time, may have left a twin.
  _found=$("${kind}_find" "$held" 2>/dev/null) || { code=cannot-look; return; }
  if ! read_id "$key"; then
    [ -n "$_found" ] || hand_over || return
    keep_settings && record_id $_found || { code=full; return; }
    [ "$f_cluster" = "$place" ] || { code=begun-elsewhere text=$f_cluster; return; }
  fi
  id=$f_id
  # An id of the past (of an earlier try, or out of accounting) may be another job's by now.
  case $NL$_found$NL in
    *"$NL$id $f_submitted listed$NL"*) ;;
    *) "${kind}_waits" "$id" "$f_submitted"
      case $? in 0) ;; 1) state=done code=submitted acted=yes; return ;; *) code=cannot-look; return ;; esac ;;
  esac
  # Once this one is released nobody looks for them any more.
  _twins=$(printf '%s\n' "$_found" | awk -v id="$id" '$3 == "listed" && $1 != id { print $1 }') || { code=cannot-look; return; }
  [ -z "$_twins" ] || [ "$(printf '%s\n' "$_twins" '~' | "${kind}_cancel" "$held" 2>/dev/null)" = '~' ] || { code=not-released; return; }
  if [ ! -e "$act/released" ]; then
    "${kind}_release" "$id" "$(member name)" >/dev/null 2>&1 || { code=not-released; return; }
    # Not `:`, which ends the whole shell where the file cannot be made.
    printf '%s\n' "$id" >"$act/released"
  fi 2>/dev/null
  state=done code=submitted acted=yes
}

# hand_over: the scheduler is given the job, held; $_found becomes what it then lists under that name. 1: it is not known,
# or was refused, and why is set.
hand_over() {
  # It may be taken and not be listed yet, where a time-out or a kill left us: absence is no evidence for five minutes.
  last_turn && [ $(($(date +%s) - _since)) -ge 300 ] || { code=unsettled; return 1; }
  # It was taken once already, and is only not to be seen (a plugin may rename jobs): never a second one.
  [ ! -s "$act/taken" ] || { code=not-seen-yet; return 1; }
  code=full
  [ "$_turn" = 0 ] || note_earlier || return 1
  unsettle || return 1
  [ "$_whose" = "$WORD" ] || { code=unsettled; return 1; }  # another try of this action is handing it over now
  printf '' >"$act/taken" && printf '' >"$act/said.$WORD" && cd "runs/$key" || return 1
  "${kind}_submit_held" "$held" "$R/runs/$key/script" >"$R/$act/taken" 2>"$R/$act/said.$WORD"
  _status=$?
  cd "$R" || return 1
  text=$(head -n 1 "$act/said.$WORD" 2>/dev/null); rm -f "$act/said.$WORD"
  case $_status:$text in
    0:*) text= ;;  # it waits held; who it is (id and submit time) the scheduler says below
    75:*) code=unsettled; return 1 ;;
    *:) return 1 ;;  # a refusal has its reason; without one it may be the disk that failed us
    *)
      [ -f "$R/runs/$key/script" ] || { code=closed text=; return 1; }  # our own folder is not there now
      printf '%s\n' "$text" >"$act/refused.$WORD" && ln "$act/refused.$WORD" "$act/refused" 2>/dev/null
      state=refused code=scheduler-refused
      return 1 ;;
  esac
  code=not-seen-yet
  _found=$("${kind}_find" "$held" 2>/dev/null)
  [ -n "$_found" ]
} 2>/dev/null

# note_earlier: the one of the last turn may come after all, once this action is over: whoever looks at the queue then ends it.
note_earlier() {
  put "$act/earlier.$WORD" "$uuid $kind $place $held $_since$NL" && take "$act/earlier.$WORD" "actions/earlier.$uuid.$_turn" || [ -s "actions/earlier.$uuid.$_turn" ]
  _noted=$?
  rm -f "$act/earlier.$WORD"
  return $_noted
}

# last_turn: how often it may have been handed over ($_turn), and when and by whom last. 1: that cannot be read.
last_turn() {
  _turn=0 _since=0 _whose=
  while [ -e "$act/unsettled.$((_turn + 1))" ]; do _turn=$((_turn + 1)); done
  [ "$_turn" = 0 ] || read -r _since _whose <"$act/unsettled.$_turn" || return 1
  case $_since in '' | *[!0-9]*) return 1 ;; esac
}

# unsettle: from now on it may have been taken, and is looked for before it is submitted again. Noted before it is handed
# over, since whatever kills us then leaves no time for it. Of several tries that have seen the same last turn one alone can
# note the next: $_whose.
unsettle() {
  _new=$act/unsettled.$WORD _turn=$((_turn + 1))
  printf '%s %s\n' "$(date +%s)" "$WORD" >"$_new"
  if ! read -r _since _whose <"$_new" || [ "$_whose" != "$WORD" ]; then rm -f "$_new"; return 1; fi  # a full disk
  ln "$_new" "$act/unsettled.$_turn"
  rm -f "$_new"
  read -r _since _whose <"$act/unsettled.$_turn"
} 2>/dev/null

# record_id ID SUBMITTED ...: the first writer wins; f_id is what was recorded.
record_id() {
  [ -n "$2" ] && _born=$(printf '%s' "$uuid" | tr -d - | cut -c 1-16) && [ -n "$_born" ] || return 1
  printf 'scheduler=%s\ncluster=%s\nhost=%s\nid=%s\nsubmitted=%s\nincarnation=%s\naction=%s\nend\n' "$kind" "$place" "$HOST" \
    "$1" "$2" "$_born" "$uuid" >"$act/id.$WORD"
  is_whole "$act/id.$WORD" && ln "$act/id.$WORD" "facts/$key.id" 2>/dev/null
  rm -f "$act/id.$WORD"
  read_id "$key"
}

# A plain process has no hold: the script records itself by `ln`, and goes on only if the recorded one is it.
submit_process() {
  if ! read_id "$key"; then
    keep_settings || { code=full; return; }
    "${kind}_start" "runs/$key" "$shell"
    # A job's shell reads the login files first, which may take seconds.
    _until=$(($(date +%s) + 10))
    until read_id "$key" || [ "$(date +%s)" -gt "$_until" ]; do sleep 0.1 2>/dev/null || sleep 1; done
  fi
  [ "$f_id" = - ] && { code=not-seen-yet; return; }
  id=$f_id state=done code=submitted acted=yes
}
