# seal.sh: settled records leave the list of names for a batch, which is made once and never changed, and their run folders go
# to the trash. Nothing is removed but what a batch was read back to hold. Whoever is killed here leaves what the next one
# finishes; two at once at worst make a batch twice.

# refer AGE NAME: $T.NAME, a file that is AGE seconds old by the file system's own clock, which is not always ours.
refer() { printf '' >"$T.$2" && touch -d "@$((FILE_NOW - $1))" "$T.$2"; }

# prepare SETTLED TRASH: the files to compare ages with. An empty file can be made on a full disk, a folder cannot.
prepare() {
  T=actions/seal.$WORD
  printf '' >"$T.now" && FILE_NOW=$(stat -c %Y "$T.now") || return 1
  SETTLED_FOR=$(($1 > 86400 ? $1 : 86400))
  refer $SETTLED_FOR settled && refer 604800 lost && refer "$2" trash && refer 86400 day && refer 2592000 month
}

done_with() { set +f; rm -f "$T".*; set -f; }

# is_cleaning VERB APP LIMIT AGE TRASH MODE: the numbers of at most ten digits (300 years).
is_cleaning() {
  case $3:$4:$5:$6 in *[!0-9]*:do | *[!0-9]*:look) ;; *) return 1 ;; esac
  for _number in "$3" "$4" "$5"; do case $_number in '' | *[!0-9]* | ???????????*) return 1 ;; esac; done
  [ "$3" -le 5000 ]
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

# ---- which ones ----
# settled_jobs APP LIMIT: the settled records, as open_jobs says the open ones; "kept" in the place of the time of `gone`, "lost"
# for those that nobody knows the end of.
# From a random key on, so that two seals at once seldom meet. What has a name that cannot be read waits.
settled_jobs() {
  {
    echo =bad; find settings facts \( ! -type f -o -size +2048 \) -print
    echo =young; find settings facts -type f -newer "$T.settled" ! -name '*.cleaned' -print
    echo =lost; find facts -type f -name '*.gone.*' ! -newer "$T.lost" -print
    echo =kept; printf '%s\n' "$names" | late_keys | sealed_files
    echo =names; [ -e "$T.settled" ] && [ -e "$T.lost" ] && printf '%s\n' "$names"  # or nothing would be too young
  } 2>/dev/null | awk -v start="$WORD" "$VALID$UNION$SETTLED" | sort | awk -v app="$1" -v limit="$2" '
    # Every fourth of the others may be of another cluster, which is for somebody there to seal.
    NF < 6 && ++read > 4 * limit { exit }
    NF < 6 {
      split("", fact); path = "facts/" $2 ".id"
      while ((getline line < path) > 0 && line != "end") { at = index(line, "="); fact[substr(line, 1, at - 1)] = substr(line, at + 1) }
      close(path)
      for (i = split("scheduler cluster id submitted sid start_ticks boot", name, " "); i; i--) {
        text = fact[name[i]]; if (text == "" || text ~ /[^A-Za-z0-9._:+-]/) text = "-"; $(4 + i) = text }
    }
    ++found[$5, $6] <= limit + 1 { print $5, $6, app, 0, $4, $7, $8, $3, $2, $9, $10, $11 }'
}

late_keys() {
  awk "$VALID"'valid($0) { key = substr($0, 1, index($0, ".") - 1); if ($0 ~ /\.id$/) id[key]; else if ($0 !~ /\.json$/) fact[key] }
    END { for (key in fact) if (!(key in id)) print key }'
}

# Lines "BEFORE KEY ATTEMPT kept|lost", and of a sealed one its id as well; it is not read twice.
SETTLED='
  function key_of(path) { sub(/^[a-z]+\//, "", path); return substr(path, 1, index(path, ".") - 1) }
  /^=[a-z]+$/ { part = $0; next }
  part == "=bad" { bad[key_of($0)]; next }
  part == "=young" { young[key_of($0)]; next }
  part == "=lost" { lost[substr($0, 7)]; next }
  part == "=kept" { from_batch($0); next }
  valid($0) { note($0); live[key]; if (fact == "cleaned") next; files[key]++ }
  END {
    for (key in live) {
      a = top[key] ? top[key] : 1
      if (!((key, "json") in has) || !((key, "id") in has) || (key in young)) continue
      if ((key, "sched." a) in has) how = "kept"; else if ((key ".gone." a) in lost) how = "lost"; else continue
      if ((key in bad) || files[key] > 400) continue
      line = (key "" < start "") " " key " " a " " how
      if (key in kept) line = line " " kept_id("scheduler") " " kept_id("cluster") " " kept_id("id") " " \
        kept_id("submitted") " " kept_id("sid") " " kept_id("start_ticks") " " kept_id("boot")
      print line
    }
  }'

# seal_targets: whom the queue is asked about because of it.
seal_targets() { each_cleaning seal_target; }
seal_target() {
  [ "$1" = seal ] && enter "$2" && prepare "$4" "$5" && names=$(ls settings facts 2>/dev/null) || return 0
  open="$open$(settled_jobs "$2" "$3" | awk '$5 == "kept"')$NL"
  done_with
}

# absent LIMIT: of the lines on standard input (as open_jobs gives them), the keys of the jobs that a complete answer of their own cluster lacks.
absent() {
  {
    for _kind in $KINDS; do
      eval "_asked=\${asked_$_kind:-1} _cluster=\${cluster_$_kind:--} _answer=\${answer_$_kind:-}"
      [ "$_asked" = 0 ] && [ "$_cluster" != - ] && printf '=answer %s %s\n%s\n' "$_kind" "$_cluster" "$_answer"
    done
    echo =jobs; cat
  } | awk -v word="$WORD" -v limit="$1" '
    $1 == "=answer" { kind = $2; cluster = $3; next }
    $0 == "=jobs" { jobs = 1; next }
    !jobs { n = split($0, part, "|"); if (part[2] != word) next
      if (part[1] == "n") gone[kind, cluster, part[3], part[4]]; else if (n > 3 && part[4] == "gone") gone[kind, cluster, part[3]]; next }
    (($1, $2, $6, $7) in gone || ($1, $2, $9) in gone) && ++told <= limit + 1 { print $9 }'
}

# ---- cleaning ----
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

# seal_do APP LIMIT
seal_do() {
  empty_trash
  rm_leftovers
  mend
  seal_batch "$1" "$2"
  move_folders
}

# seal_look APP LIMIT: the same, and nothing is touched.
seal_look() {
  due "$1" "$2"
  for _key in $keys; do say would "$1" "$_key"; done
  folders=$({ printf '%s\n' "$keys"; to_move | sed 's/^runs.//'; } | sort -u | while read -r _key; do [ -d "runs/$_key" ] && echo; done | wc -l)
  emptied=$(find trash/. ! -name . -prune ! -newer "$T.trash" -exec sh -c 'find "$@" -mindepth 1 -maxdepth 1' sh {} + 2>/dev/null | wc -l)
}

# due APP LIMIT: sets $keys, $records (their number) and $more.
due() {
  keys=
  names=$(ls settings facts 2>/dev/null) || return 1
  keys=$(settled_jobs "$1" "$2" | absent "$2" | sort)
  [ -n "$keys" ] || return 1
  records=$(printf '%s\n' "$keys" | wc -l)
  if [ "$records" -gt "$2" ]; then
    more=1 records=$2
    keys=$(printf '%s\n' "$keys" | head -n "$2")
  fi
}

# seal_batch APP LIMIT: written, read back and linked; then its list of keys; then exactly its names are removed.
seal_batch() {
  due "$1" "$2" || return 0
  records=0
  printf '%s\n' "$keys" >"$T.keys" && mark_cleaned && names=$(ls settings facts 2>/dev/null) && copy && is_whole_batch &&
    take "$T.gz" "sealed/$WORD.gz" && list_keys "sealed/$WORD.gz" || { more=1; return; }
  records=$(wc -l <"sealed/$WORD.names")
  # Without its id a job is open to nobody, whatever is left of it.
  { grep '\.id$' "$T.held"; grep -v '\.id$' "$T.held"; } | xargs rm -f
}

# mark_cleaned: the run folders of these go with their records.
mark_cleaned() {
  { cat "$T.keys"; echo =; printf '%s\n' "$names"; } | awk -v now="$(date +%s)" -v tab="$TAB" '
    !names { if ($0 == "=") names = 1; else key[$0]; next }
    /\.json$/ { k = substr($0, 1, length($0) - 5); if (k in key) asked[k] }
    /\.cleaned$/ { k = substr($0, 1, length($0) - 8); done[k] }
    END { for (k in asked) if (!(k in done)) print k ".cleaned" tab "time=" now }' | put_facts
}

# copy: the names of $T.keys, with what they hold, into $T.gz. A key of which something is not as a reader wants it stays out.
copy() {
  { cat "$T.keys"; echo =; printf '%s\n' "$names"; } | awk "$VALID"'
    !names { if ($0 == "=") names = 1; else key[$0]; next }
    valid($0) && (substr($0, 1, index($0, ".") - 1) in key) { print $0, ($0 ~ /\.json$/ ? "settings/" : "facts/") $0 }' |
    sort | cut -d ' ' -f 2 >"$T.files"
  xargs wc -c <"$T.files" >"$T.sizes" 2>/dev/null
  { cat "$T.sizes"; echo =; cat "$T.files"; } | awk '
    function keep(   i) { if (n && whole && sum + size < 33554432) { for (i = 1; i <= n; i++) print line[i]; files += held; sum += size } }
    !files_begun { if ($0 == "=") files_begun = 1; else bytes[$2] = $1; next }
    {
      path = $0; name = path; sub(/^[a-z]+\//, "", name); key = substr(name, 1, index(name, ".") - 1)
      if (key != now) { keep(); now = key; n = held = size = 0; whole = 1 }
      line[++n] = "file " name; held++; length_ = 0; ended = 0; first = last = ""
      while ((status = (getline text < path)) > 0) {
        if (!length_) first = text
        line[++n] = "|" text; length_ += length(text) + 1; last = text; if (text == "end") ended = 1 }
      close(path)
      size += length_
      if (status < 0 || !(path in bytes) || length_ != bytes[path]) whole = 0
      if (name ~ /\.json$/ ? first !~ /^{/ || last !~ /}$/ : !ended) whole = 0
    }
    END { keep(); print "closed", files + 0 }' | gzip -c >"$T.gz"
}

# is_whole_batch: $T.gz, read back, is what the files hold, byte for byte; $T.held become their paths.
is_whole_batch() {
  gzip -dc "$T.gz" >"$T.text" 2>/dev/null || return 1
  paths_in "$T.text" >"$T.held"
  _files=$(wc -l <"$T.held")
  [ "$_files" -gt 0 ] && [ "$(tail -n 1 "$T.text")" = "closed $_files" ] || return 1
  [ "$(sed -n 's/^|//p' "$T.text" | cksum)" = "$(xargs cat <"$T.held" 2>/dev/null | cksum)" ]
}

paths_in() { awk "$VALID"'/^file / { name = substr($0, 6); if (valid(name)) print (name ~ /\.json$/ ? "settings/" : "facts/") name }' "$1"; }

# list_keys BATCH: the list beside it. Their numbers are not used again from here on, whatever becomes of the batch.
list_keys() {
  gzip -dc "$1" >"$T.text" 2>/dev/null || return 1
  _keys=$(paths_in "$T.text" | sed 's/^[a-z]*.//; s/\..*//' | sort -u)
  [ -n "$_keys" ] && printf '%s\n' "$_keys" >"$T.names" && [ "$(cat "$T.names")" = "$_keys" ] && take "$T.names" "${1%gz}names"
  _listed=$?
  rm -f "$T.names"
  return $_listed
}

# mend: what a seal that was killed left. A batch gets its list; then the names that batches hold byte for byte are removed.
mend() {
  set +f
  for _batch in sealed/*.gz; do [ -e "${_batch%gz}names" ] || [ ! -f "$_batch" ] || list_keys "$_batch"; done
  set -f
  names=$(ls settings facts 2>/dev/null) || return 1
  _again=$(live_and_sealed)
  [ -n "$_again" ] || return 0
  { find settings facts ! -type f -print 2>/dev/null | sed 's/^/!/'; printf '%s\n' "$_again" | sealed_files; } | awk "$VALID"'
    function end_of_file() { if (path != "") { if (same && (getline text < path) == 0) print path; close(path) } }
    substr($0, 1, 1) == "!" { odd[substr($0, 2)]; next }
    substr($0, 1, 1) == "|" { if (same) same = (getline text < path) > 0 && text == substr($0, 2); next }
    { end_of_file(); name = substr($0, 6); path = ""; same = valid(name)
      if (same) { path = (name ~ /\.json$/ ? "settings/" : "facts/") name; if (path in odd) { same = 0; path = "" } } }
    END { end_of_file() }' | xargs rm -f
}

# live_and_sealed: the keys of $names that a batch has as well.
live_and_sealed() {
  set +f
  { printf '%s\n' "$names"; echo =; cat sealed/*.names 2>/dev/null; } | awk "$VALID"'
    !sealed { if ($0 == "=") sealed = 1; else if (valid($0)) live[substr($0, 1, index($0, ".") - 1)]; next }
    $0 in live { print; delete live[$0] }'
  set -f
}

# ---- the trash ----
# A folder per exchange: its time is when the last one was moved into it, by the file system's clock.
to_trash() { mkdir "trash/$WORD" 2>/dev/null; [ -d "trash/$WORD" ] && xargs sh -c 'into=$1; shift; mv "$@" "$into/" 2>/dev/null' sh "trash/$WORD"; }

# to_move: the run folders of sealed jobs, at most 5000. A job of which there are names is alive, or waits for its own batch.
to_move() {
  set +f
  { ls runs 2>/dev/null; echo =live; ls settings facts 2>/dev/null; echo =sealed; cat sealed/*.names 2>/dev/null; } | awk '
    /^=/ { part = $0; next }
    part == "" { there[$0]; next }
    part == "=live" { delete there[substr($0, 1, index($0, ".") - 1)]; next }
    ($0 in there) && n++ < 5000 { print "runs/" $0; delete there[$0] }'
  set -f
}

move_folders() {
  _folders=$(to_move)
  [ -n "$_folders" ] || return 0
  printf '%s\n' "$_folders" | to_trash
  folders=$(ls "trash/$WORD" 2>/dev/null | wc -l)
  [ "$folders" -lt 5000 ] || more=1
}

# empty_trash: what is due first gets another name, since removing part of a folder makes it young.
empty_trash() {
  # On a full disk there is no room for a folder: then what is first of them goes as it lies, and makes room.
  _old=$(find trash/. ! -name . -prune ! -name 'over.*' ! -newer "$T.trash" -print 2>/dev/null | head -n 5000)
  if [ -n "$_old" ]; then
    mkdir "trash/over.$WORD" 2>/dev/null || printf '%s\n' "$_old" | head -n 1 | xargs rm -rf 2>/dev/null
    mkdir "trash/over.$WORD" 2>/dev/null
    printf '%s\n' "$_old" | xargs sh -c 'into=$1; shift; mv "$@" "$into/" 2>/dev/null' sh "trash/over.$WORD"
  fi
  emptied=$(find "trash/over.$WORD" -mindepth 2 -maxdepth 2 2>/dev/null | wc -l)
  set +f
  $BOUND rm -rf trash/over.* 2>/dev/null
  case $? in
    0) ;;
    124 | 137 | 143) more=1 ;;
    # What a job made read-only is its owner's to remove all the same.
    *) $BOUND chmod -R u+rwX trash/over.* 2>/dev/null; $BOUND rm -rf trash/over.* 2>/dev/null || more=1 ;;
  esac
  set -f
}

# rm_leftovers: what killed exchanges left in actions. A submission's own folder is of use for as long as it is not refused for
# its age (7 days). The times of seal.* are made up, but that of seal.*.now.
rm_leftovers() {
  find actions/. ! -name . -prune ! -name 'seal.*' ! -newer "$T.month" -exec rm -rf {} + 2>/dev/null
  find actions/. ! -name . -prune -name 'facts.*' ! -newer "$T.day" -exec rm -rf {} + 2>/dev/null
  for _now in $(find actions/. ! -name . -prune -name 'seal.*.now' ! -newer "$T.day" -print 2>/dev/null); do
    set +f; rm -f "${_now%now}"*; set -f
  done
}

# ---- pruning ----
# prune_do, prune_look: batches of which every record is older than $SETTLED_FOR, and none has a part elsewhere. Their lists of
# keys stay, so that no number comes again.
prune_do() {
  mend
  _old=$(old_batches)
  [ -n "$_old" ] || return 0
  count_pruned
  printf '%s\n' "$_old" | xargs rm -f
}
prune_look() { _old=$(old_batches); [ -z "$_old" ] || count_pruned; }

count_pruned() {
  folders=$(printf '%s\n' "$_old" | wc -l)
  records=$(printf '%s\n' "$_old" | sed 's/gz$/names/' | xargs cat | sort -u | wc -l)
}

# old_batches: a key that stands in a batch that stays, or has names, keeps all that is sealed of it.
old_batches() {
  names=$(ls settings facts 2>/dev/null) || return 1
  set +f
  {
    for _batch in sealed/*.gz; do
      has_time || { echo "$_batch"; continue; }
      gzip -dc "$_batch" 2>/dev/null | awk -v batch="$_batch" '
        /^file / { counts = $0 !~ /\.(json|cleaned)$/; next }
        counts && /^\|(time|submitted)=[0-9]+$/ { sub(/^[^=]*=/, ""); if ($0 + 0 > newest) newest = $0 + 0 }
        END { print batch, newest }'
    done
    echo =live; printf '%s\n' "$names" | awk "$VALID"'valid($0) { print substr($0, 1, index($0, ".") - 1) }'
    echo =lists; grep -sH '' sealed/*.names
  } | awk -v before="$((FILE_NOW - SETTLED_FOR))" '
    /^=/ { part = $0; next }
    part == "" { if ($2 > 0 && $2 + 0 < before) old[$1]; else stays[$1]; next }
    part == "=live" { keeps[$0]; next }
    { at = index($0, ":"); batch = substr($0, 1, at - 6) "gz"; key = substr($0, at + 1)
      if (batch in stays) keeps[key]; else if (batch in old) holds[batch] = holds[batch] " " key }
    END {
      do {
        again = 0
        for (batch in old) {
          n = split(holds[batch], held, " "); stay = !n
          for (i = 1; i <= n && !stay; i++) stay = held[i] in keeps
          if (stay) { for (i = 1; i <= n; i++) keeps[held[i]]; delete old[batch]; again = 1 }
        }
      } while (again)
      for (batch in old) print batch
    }'
  set -f
}
