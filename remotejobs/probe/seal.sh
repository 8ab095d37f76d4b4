# seal.sh: settled records leave the list of names for a batch, which is made once and never changed. Nothing is removed but what a
# batch was read back to hold. Whoever is killed here leaves what the next one finishes; two at once at worst make a batch twice.

# ---- which ones ----
# settled_jobs APP LIMIT: the settled records, as open_jobs says the open ones; "kept" in the place of the time of `gone`, "lost"
# for those that nobody knows the end of; `~` last.
# From a random key on, so that two seals at once seldom meet. What has a name that cannot be read waits.
settled_jobs() {
  {
    echo =bad; find settings/. facts/. ! -name . -prune \( ! -type f -o -size +2048 \) -print && echo '~bad'
    echo =young; find settings/. facts/. ! -name . -prune -type f -newer "$T.settled" ! -name '*.cleaned' -print && echo '~young'
    echo =lost; find facts/. ! -name . -prune -type f -name '*.gone.*' ! -newer "$T.lost" -print && echo '~lost'
    echo =kept; printf '%s\n' "$names" | late_keys | sealed_files && echo '~kept'
    echo =names; printf '%s\n' "$names"
  } 2>/dev/null | awk -v start="$WORD" "$VALID$UNION$SETTLED" | sort | awk -v app="$1" -v limit="$2" '
    $1 == "~" { whole = 1; next }
    # Every fourth of the others may be of another cluster, which is for somebody there to seal.
    NF < 6 && ++read > 4 * limit { whole = 1; exit }
    NF < 6 {
      split("", fact); path = "facts/" $2 ".id"
      while ((getline line < path) > 0 && line != "end") { at = index(line, "="); fact[substr(line, 1, at - 1)] = substr(line, at + 1) }
      close(path)
      for (i = split("scheduler cluster id submitted sid start_ticks boot", name, " "); i; i--) {
        text = fact[name[i]]; if (text == "" || text ~ /[^A-Za-z0-9._:+-]/) text = "-"; $(4 + i) = text }
    }
    ++found[$5, $6] <= limit + 1 { print $5, $6, app, 0, $4, $7, $8, $3, $2, $9, $10, $11 }
    END { if (whole) print "~" }'
}

late_keys() {
  awk "$VALID"'valid($0) { key = substr($0, 1, index($0, ".") - 1); if ($0 ~ /\.id$/) id[key]; else if ($0 !~ /\.json$/) fact[key] }
    END { for (key in fact) if (!(key in id)) print key }'
}

# Lines "BEFORE KEY ATTEMPT kept|lost", and of a sealed one its id as well; it is not read twice. `~` is the last one.
SETTLED='
  function key_of(path) { sub(/^.*\//, "", path); return substr(path, 1, index(path, ".") - 1) }
  /^=[a-z]+$/ { part = $0; next }
  /^~[a-z]+$/ { whole[substr($0, 2)]; next }
  part == "=bad" { bad[key_of($0)]; next }
  part == "=young" { young[key_of($0)]; next }
  part == "=lost" { lost[substr($0, 9)]; next }
  part == "=kept" { from_batch($0); next }
  valid($0) { note($0); live[key]; if (fact == "cleaned") next; files[key]++ }
  END {
    if (!("bad" in whole) || !("young" in whole) || !("lost" in whole)) exit
    for (key in live) {
      a = top[key] ? top[key] : 1
      if (!((key, "json") in has) || !((key, "id") in has) || (key in young)) continue
      if ((key, "sched." a) in has) how = "kept"; else if ((key ".gone." a) in lost) how = "lost"; else continue
      if ((key in bad) || files[key] > 400 || (key in kept) && !("kept" in whole)) continue
      line = (key "" < start "") " " key " " a " " how
      if (key in kept) line = line " " kept_id("scheduler") " " kept_id("cluster") " " kept_id("id") " " \
        kept_id("submitted") " " kept_id("sid") " " kept_id("start_ticks") " " kept_id("boot")
      print line
    }
    print "~"
  }'

# seal_targets: whom the queue is asked about because of it.
seal_targets() { each_cleaning seal_target; }
seal_target() {
  [ "$1" = seal ] && enter "$2" && prepare "$4" "$5" && live_names || return 0
  open="$open$(settled_jobs "$2" "$3" | awk '$5 == "kept"')$NL"
  done_with
}

# absent LIMIT: of the lines on standard input (as settled_jobs gives them), the keys of the jobs that a complete answer of their own
# cluster lacks; `~` last, or `~more` where the limit cut it.
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
    $1 == "~" { whole = 1; next }
    (($1, $2, $6, $7) in gone || ($1, $2, $9) in gone) && ++told <= limit { print $9 }
    END { if (whole) print (told > limit ? "~more" : "~") }'
}

# ---- sealing ----
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
  to_move || list=
  folders=$({ printf '%s\n' "$keys"; printf '%s\n' "$list" | sed 's/^runs.//'; } | sort -u | while read -r _key; do
    [ -n "$_key" ] && [ -d "runs/$_key" ] && echo; done | wc -l)
  emptied=$(count_due)
}

# due APP LIMIT: sets $keys, $records (their number) and $more.
due() {
  keys=
  live_names && whole "$(settled_jobs "$1" "$2" | absent "$2" | sort)" && [ -n "$list" ] || return 1
  keys=$list
  records=$(printf '%s\n' "$keys" | wc -l)
}

# seal_batch APP LIMIT: written, read back and linked; then its list of keys; then exactly its names are removed.
seal_batch() {
  due "$1" "$2" || return 0
  records=0
  printf '%s\n' "$keys" >"$T.keys" && live_names && copy && is_whole_batch &&
    take "$T.gz" "sealed/$WORD.gz" && list_keys "sealed/$WORD.gz" || { more=1; return; }
  records=$(wc -l <"sealed/$WORD.names")
  # Without its id a job is open to nobody, whatever is left of it.
  whole "$(awk '/\.id$/ { print; next } { other[++n] = $0 } END { for (i = 1; i <= n; i++) print other[i]; print "~" }' "$T.held")" &&
    printf '%s\n' "$list" | xargs rm -f
}

# copy: the names of $T.keys, with what they hold, into $T.gz. A key of which something is not as a reader wants it stays out.
# That the run folder goes is said by the batch alone: it is so from then on, and never where nothing could be sealed.
copy() {
  { cat "$T.keys"; echo =; printf '%s\n' "$names"; } | awk "$VALID"'
    !names { if ($0 == "=") names = 1; else key[$0]; next }
    valid($0) && (substr($0, 1, index($0, ".") - 1) in key) { print $0, ($0 ~ /\.json$/ ? "settings/" : "facts/") $0 }' |
    sort | cut -d ' ' -f 2 >"$T.files"
  xargs wc -c <"$T.files" >"$T.sizes" 2>/dev/null
  { cat "$T.sizes"; echo =; cat "$T.files"; } | awk -v now="$(date +%s)" '
    function keep(   i) {
      if (!n || !whole || sum + size >= 33554432) return
      for (i = 1; i <= n; i++) print line[i]
      if (asked && !cleaned) { print "file " of ".cleaned"; print "|time=" now; print "|end"; held++ }
      files += held; sum += size
    }
    !files_begun { if ($0 == "=") files_begun = 1; else bytes[$2] = $1; next }
    {
      path = $0; name = path; sub(/^[a-z]+\//, "", name); key = substr(name, 1, index(name, ".") - 1)
      if (key != of) { keep(); of = key; n = held = size = asked = cleaned = 0; whole = 1 }
      line[++n] = "file " name; held++; length_ = 0; ended = 0; first = last = ""
      while ((status = (getline text < path)) > 0) {
        if (!length_) first = text
        line[++n] = "|" text; length_ += length(text) + 1; last = text; if (text == "end") ended = 1 }
      close(path)
      size += length_
      if (status < 0 || !(path in bytes) || length_ != bytes[path]) whole = 0
      if (name ~ /\.json$/) { asked = 1; if (first !~ /^[{]/ || last !~ /[}]$/) whole = 0 } else if (!ended) whole = 0
      if (name ~ /\.cleaned$/) cleaned = 1
    }
    END { keep(); print "closed", files + 0 }' | gzip -c >"$T.gz"
}

# is_whole_batch: $T.gz, read back, is what the files hold, byte for byte; $T.held became their paths.
is_whole_batch() {
  gzip -dc "$T.gz" >"$T.text" 2>/dev/null || return 1
  keys_in "$T.text" | grep -q '^~$' || return 1
  { sed 's/^/=/' "$T.files"; cat "$T.text"; } | awk -v held="$T.held" '
    substr($0, 1, 1) == "=" { there[substr($0, 2)]; next }
    /^file / { path = (/\.json$/ ? "settings/" : "facts/") substr($0, 6); on = path in there; if (on) print path >held; next }
    substr($0, 1, 1) == "|" && on { print substr($0, 2) }' >"$T.said" || return 1
  [ -s "$T.held" ] && [ "$(cksum <"$T.said")" = "$(xargs cat <"$T.held" 2>/dev/null | cksum)" ]
}

# keys_in TEXT: of a batch, each key as often as it has files; `~` last where all of the batch is there.
keys_in() {
  awk "$VALID"'
    /^file / { files++; name = substr($0, 6); if (valid(name)) print substr(name, 1, index(name, ".") - 1) }
    { last = $0 }
    END { if (files && last == "closed " files) print "~" }' "$1"
}

# list_keys BATCH: the list beside it. Their numbers are not used again from here on, whatever becomes of the batch.
list_keys() {
  gzip -dc "$1" >"$T.text" 2>/dev/null && whole "$(keys_in "$T.text" | sort -u)" && [ -n "$list" ] || return 1
  printf '%s\n' "$list" >"$T.names" && [ "$(cat "$T.names")" = "$list" ] && take "$T.names" "${1%gz}names"
  _listed=$?
  rm -f "$T.names"
  return $_listed
}

# mend: what a seal that was killed left. A batch gets its list; then the names that batches hold byte for byte are removed.
mend() {
  for _batch in $(batches); do [ -e "${_batch%gz}names" ] || list_keys "$_batch"; done
  live_names && whole "$(live_and_sealed)" && [ -n "$list" ] || return 0
  _again=$list
  whole "$({ find settings/. facts/. ! -name . -prune ! -type f -print 2>/dev/null && echo =files; printf '%s\n' "$_again" | sealed_files; } | alike)" &&
    [ -n "$list" ] && printf '%s\n' "$list" | xargs rm -f
}

# alike: the paths of the names that hold what batches hold (odd ones first, then `=files` and the lines of sealed_files); `~` last.
alike() {
  awk "$VALID"'
    function end_of_file() { if (path != "") { if (same && lines && (getline text < path) == 0) print path; close(path) } }
    $0 == "=files" { files = 1; next }
    !files { sub(/\/\.\//, "/"); odd[$0]; next }
    substr($0, 1, 1) == "|" { lines++; if (same) same = (getline text < path) > 0 && text == substr($0, 2); next }
    { end_of_file(); name = substr($0, 6); path = ""; same = valid(name); lines = 0
      if (same) { path = (name ~ /\.json$/ ? "settings/" : "facts/") name; if (path in odd) { same = 0; path = "" } } }
    END { if (files) { end_of_file(); print "~" } }'
}

# live_and_sealed: the keys of $names that a batch has as well; `~` last.
live_and_sealed() {
  { printf '%s\n=sealed\n' "$names"; sealed_keys && echo '~'; } | awk "$VALID"'
    $0 == "~" { whole = 1; next }
    !sealed { if ($0 == "=sealed") sealed = 1; else if (valid($0)) live[substr($0, 1, index($0, ".") - 1)]; next }
    $0 in live { print; delete live[$0] }
    END { if (whole) print "~" }'
}
