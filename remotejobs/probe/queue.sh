# queue.sh: asking the schedulers, and keeping what their complete answers prove.

# bounded SECONDS COMMAND: a stand-in where coreutils' timeout is missing.
bounded() {
  _limit=$1; shift
  "$@" & _pid=$!
  ( sleep "$_limit"; kill "$_pid" 2>/dev/null ) >/dev/null 2>&1 & _watch=$!
  wait "$_pid"; _status=$?
  kill "$_watch" 2>/dev/null
  return "$_status"
}
if command -v timeout >/dev/null 2>&1; then BOUND='timeout 20'; else BOUND='bounded 20'; fi

# ---- schedulers ----
# A bare sh often has no scheduler in its PATH: the user's login shell has. Its answer is kept per host (0.1 s and more).
here() {
  "$1_here" && return 0
  [ -z "$asked_login" ] || return 1
  if [ -n "$R" ] && [ -r "$R/hosts/$HOST" ]; then
    _old=$PATH; IFS= read -r _path <"$R/hosts/$HOST"; PATH=$_path
    "$1_here" && return 0
    PATH=$_old
  fi
  asked_login=yes
  case ${SHELL:-/bin/sh} in *csh) _flag=-c ;; *) _flag=-lc ;; esac
  _path=$(${BOUND% *} 10 "${SHELL:-/bin/sh}" $_flag env </dev/null 2>/dev/null | sed -n 's/^PATH=//p' | tail -n 1)
  [ -n "$_path" ] || return 1
  PATH=$_path:$PATH
  "$1_here" || return 1
  [ -n "$R" ] && printf '%s\n' "$PATH" >"$R/hosts/.$WORD" 2>/dev/null && mv -f "$R/hosts/.$WORD" "$R/hosts/$HOST"
  return 0
}

# ask KIND: one query for all sources of this server. Sets $answer, $asked (0: complete), $asked_at and $cluster for KIND.
ask() {
  answer='' asked=1 cluster=-
  if here "$1" && cluster=$("$1_cluster" 2>/dev/null) && [ -n "$cluster" ]; then
    eval "${1}_answered=yes"  # no need to ask whether it is up
    answer=$(about "$1 $cluster " | "$1_query" 2>/dev/null)
    asked=$?
  fi
  look_at_clock; asked_at=$now
  say queue "$1" "${cluster:--}" "$HOST" "$asked_at"
  IFS=$NL
  [ -z "$answer" ] || printf '|%s\n' $answer
  unset IFS
  say closed queue "$1" "$asked"
}

# about "KIND CLUSTER ": the open jobs of that cluster, as its scheduler is asked about them: ID SUBMITTED ATTEMPT KEY SID TICKS BOOT
about() {
  _of=$1
  IFS=$NL
  for _line in $open; do
    case $_line in "$_of"*) IFS=' '; set -- $_line; shift 5; echo "$*" ;; esac
  done
}

# keep KIND: what a complete answer proves becomes facts, whoever asks: endings, and the first time that a job was not there.
keep() {
  [ "$asked" = 0 ] && ! "$1_all_live" || return 0
  # Each part only after the one before came whole: without those that live, they would be over.
  _proof=$({ printf '%s\n' "$answer" | "$1_live" && echo =endings && printf '%s\n' "$answer" | "$1_endings" &&
    printf '=answer\n%s\n=open\n%s' "$answer" "$open"; } |
    awk -v kind="$1" -v cluster="$cluster" -v now="$asked_at" -v tab="$TAB" '
      /^=(endings|answer|open)$/ { part = $0; next }
      part == "" { live[$1 " " $3] = 1 }
      part == "=endings" { line = $0; sub(/^[^ ]* [^ ]* [^ ]* /, "", line); ending[$1 " " $3, $2] = line; if ($2 > top[$1 " " $3]) top[$1 " " $3] = $2 + 0 }
      part == "=answer" && $1 == "accounting" { accounting = $2 }
      # Not to be there is a line as well: a job that was not asked about has none.
      part == "=answer" && ($0 ~ /^n\|/ || $0 ~ /^q\|[^|]*\|[^|]*\|gone\|/) {
        n = split($0, word, "|"); absent[word[3] " " word[n]] = word[1] == "q" && word[5] ~ /^[a-z]+$/ ? tab "reason=" word[5] : "" }
      part == "=open" && $1 == kind && $2 == cluster {
        app = $3; exited = $4; gone = $5; id = $6; submitted = $7; a = $8; key = $9
        job = id " " submitted; named = key " " submitted  # processes are told by key, since pids come again
        if ((job in live) || (named in live)) next
        # The last attempt that anybody knows: one that never came to its start has left no fact, and may not be the next.
        e = top[job] > a ? top[job] : a
        if (gone == "kept" && e == a) next  # it is asked about for another reason
        if ((job, e) in ending) { print app tab key ".sched." e tab "source=" (ending[job, e] ~ /^q/ ? "queue" : "accounting") tab "line=" ending[job, e] tab "time=" now; next }
        if (accounting == "failed" || !(job in absent) && !(named in absent)) next  # it may be known, or come back
        if (gone == "-") print app tab key ".gone." a tab "time=" now ((named in absent) ? absent[named] : absent[job])
        # Nothing more will be said of it: there is no accounting, or it has kept silent for an hour.
        if (exited && (accounting != "complete" || gone != "-" && now - gone > 3600))
          print app tab key ".sched." a tab "source=none" tab "line=" tab "time=" now
      }') || return 0  # a line of it may have been cut
  each_app "$_proof"
}

# each_app LINES ("APP<tab>FACT..."): puts them into the registries that they belong to.
each_app() {
  [ -n "$1" ] || return 0
  for _app in $(printf '%s\n' "$1" | cut -f 1 | sort -u); do
    enter "$_app" && _its=$(printf '%s\n' "$1" | awk -F "$TAB" -v app="$_app" '$1 == app { print substr($0, length(app) + 2) }') &&
      printf '%s\n' "$_its" | put_facts
  done
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

# further_parts: what the request wants beyond the records, and what their open jobs need, in this order.
further_parts() {
  [ -z "$cancels" ] || cancel_targets
  [ -z "$cleanings" ] || seal_targets
  queues
  [ -z "$earlier" ] || end_earlier
  [ -z "$cancels" ] || { cancels; say closed cancels 0; }
  [ -z "$submissions" ] || { all_submissions; say closed submissions 0; }
  [ -z "$questions" ] || answers
  [ -z "$cleanings" ] || cleanings
  [ -z "$acted" ] || prove
  [ -z "$cancelled_facts" ] || each_app "$cancelled_facts"
  [ -z "$acted$cancelled_facts" ] || look_again
}

# ---- what was handed over anew, since for five minutes nobody saw it (submit.sh) ----
# end_earlier: it waits held, if it comes after all, under a name that only its action has. Once the action is over nobody else
# asks for it; it cannot have run, and is taken out of the queue. A note of that is of one job, and of no use after a week.
end_earlier() {
  IFS=$NL
  for _source in $seen; do
    unset IFS
    enter "${_source%% *}" || { IFS=$NL; continue; }
    set +f; set -- actions/earlier.*; set -f
    for _note do
      [ -f "$_note" ] && [ ! -h "$_note" ] && read -r _uuid _kind _place _name _since <"$_note" || continue
      case $_since in '' | *[!0-9]*) continue ;; esac
      if [ $((NOW - _since)) -gt 604800 ]; then rm -f "$_note" 2>/dev/null; continue; fi
      is_over "$_uuid" && is_kind "$_kind" && here "$_kind" && [ "$("${_kind}_cluster" 2>/dev/null)" = "$_place" ] || continue
      "${_kind}_end_earlier" "$_name" "$_mine" && rm -f "$_note" 2>/dev/null
    done
    IFS=$NL
  done
  unset IFS
}

# is_over UUID: this submission has released its job: $_mine.
is_over() {
  is_uuid "$1" && [ -f "actions/$1/released" ] && [ ! -h "actions/$1/released" ] && read -r _mine <"actions/$1/released" &&
    case $_mine in '' | *[!A-Za-z0-9._-]*) false ;; esac
}
