# prune.sh: batches of which every record is older than $SETTLED_FOR, and none has a part elsewhere, are deleted. Their lists of keys
# stay, so that no number comes again.

prune_do() {
  mend
  old_batches || return 0
  printf '%s\n' "$list" | xargs rm -f || { records=0 folders=0 more=1; }
}
prune_look() { old_batches; }

# old_batches: sets $list to them, $folders and $records to how many they are and hold.
old_batches() {
  live_names && whole "$(ages | are_old)" && [ -n "$list" ] || return 1
  folders=$(printf '%s\n' "$list" | wc -l)
  records=$(printf '%s\n' "$list" | sed 's/gz$/names/' | xargs cat | sort -u | wc -l)
}

# ages: what are_old judges: "BATCH NEWEST" (nothing where it could not be read to its end: it stays), `=cut` where the time was
# over, the keys that live, and after `=lists` "LIST:KEY"; `~` last.
ages() {
  for _batch in $(batches); do
    has_time || { echo "$_batch"; _cut='=cut'; continue; }
    gzip -dc "$_batch" 2>/dev/null | awk -v batch="$_batch" '
      { last = $0 }
      /^file / { files++; counts = $0 !~ /\.(json|cleaned)$/; next }
      counts && /^\|(time|submitted)=[0-9]+$/ { sub(/^[^=]*=/, ""); if ($0 + 0 > newest) newest = $0 + 0 }
      END { print batch, (last == "closed " files ? newest : "") }'
  done
  [ -z "$_cut" ] || echo '=cut'
  echo =live
  printf '%s\n' "$names" | awk "$VALID"'valid($0) { print substr($0, 1, index($0, ".") - 1) } END { print "=lists" }'
  lists_of_keys && echo '~'
}

# lists_of_keys: "LIST:KEY" of each batch that has a list.
lists_of_keys() {
  _lists=$(names_of_sealed) || return 1
  set --
  for _list in $_lists; do
    _batch=${_list%names}gz
    [ ! -e "$_batch" ] && [ ! -h "$_batch" ] || set -- "$@" "$_list"
  done
  [ $# = 0 ] || printf '%s\n' "$@" | xargs grep -H ''
}

# are_old: a key that stands in a batch that stays, or has names, keeps all that is sealed of it. `~` last.
are_old() {
  awk -v before="$((FILE_NOW - SETTLED_FOR))" '
    $0 == "=cut" { cut = 1; next }
    $0 == "~" { whole = part == "=lists"; next }
    /^=/ { part = $0; next }
    part == "" { if ($2 > 0 && $2 + 0 < before) old[$1]; else stays[$1]; next }
    part == "=live" { keeps[$0]; next }
    { at = index($0, ":"); batch = substr($0, 1, at - 6) "gz"; key = substr($0, at + 1)
      if (batch in old) holds[batch] = holds[batch] " " key; else keeps[key] }
    END {
      if (!whole) exit
      do {
        again = 0
        for (batch in old) {
          n = split(holds[batch], held, " "); stay = !n
          for (i = 1; i <= n && !stay; i++) stay = held[i] in keeps
          if (stay) { for (i = 1; i <= n; i++) keeps[held[i]]; delete old[batch]; again = 1 }
        }
      } while (again)
      for (batch in old) print batch
      print (cut ? "~more" : "~")
    }'
}
