# sealed.sh: what the batches hold of single jobs. A sealed job is back as soon as a fact of it comes late, or it is requeued.

# is_plain PATH: a plain file under a plain name. What else lies in its place is never opened: a pipe would block us for ever.
is_plain() {
  _base=${1##*/}
  case $_base in [!A-Za-z0-9]* | *[!A-Za-z0-9.-]*) return 1 ;; esac
  [ ${#_base} -le 100 ] && [ -f "$1" ] && [ ! -h "$1" ]
}

# names_of_sealed: the lists of keys beside the batches, a path per line. 1: not all of them can be read, so that nobody can
# say what is sealed.
names_of_sealed() {
  [ -r sealed ] && [ -x sealed ] || return 1
  _readable=0
  set +f
  for _list in sealed/*.names; do
    is_plain "$_list" || continue
    if [ -r "$_list" ]; then printf '%s\n' "$_list"; else _readable=1; fi
  done
  set -f
  return $_readable
}

# sealed_keys: the keys in all lists. 1: it was not possible to read them all.
sealed_keys() {
  _lists=$(names_of_sealed) || return 1
  [ -z "$_lists" ] || cat $_lists
}

# lists_with KEYS: the lists that have one of them; 0 also if there is none. 1: that is not known.
lists_with() {
  _lists=$(names_of_sealed) || return 1
  [ -n "$_lists" ] && [ -n "$1" ] || return 0
  printf '%s\n' "$1" | grep -lxF -f - $_lists
  [ $? -le 1 ]  # a grep that died has found nothing either
}

# was_sealed KEY. 1: no list has it. 2: it is not known.
was_sealed() {
  _found=$(lists_with "$1") || return 2
  [ -n "$_found" ]
}

# is_there KEY: whether a batch that has it still lies there. 1: none has, or it was pruned, which is for good. 2: it is not known.
is_there() {
  _found=$(lists_with "$1") || return 2
  for _list in $_found; do [ ! -e "${_list%names}gz" ] || return 0; done
  return 1
}

# unpack_with KEYS: the batches that hold one of them. 1: something died, 2: a batch cannot be read whole.
unpack_with() {
  _lists=$(lists_with "$1") || return 1
  _odd=0
  set --
  for _list in $_lists; do
    _batch=${_list%names}gz
    if is_plain "$_batch"; then set -- "$@" "$_batch"; elif [ -e "$_batch" ] || [ -h "$_batch" ]; then _odd=2; fi
  done
  [ $# -gt 0 ] || return $_odd
  printf '%s\n' "$@" | xargs gzip -dc
  case $? in 0) return $_odd ;; 123) return 2 ;; *) return 1 ;; esac  # 123: gzip itself has found it wrong
}

# sealed_files: of the keys on standard input, all that the batches hold: the lines "file NAME" and "|...", as they stand there.
# 1: something died, 2: a batch cannot be read whole; either way something may be lacking.
sealed_files() {
  _wanted=$(cat)
  {
    printf '%s\n' "$_wanted" =
    unpack_with "$_wanted"
    printf '\n~ %s\n' $?
  } 2>/dev/null | awk '
    !begun { if ($0 == "=") begun = 1; else wanted[$0]; next }
    $1 == "~" { status = $2; on = 0; next }
    substr($0, 1, 1) != "|" { on = substr($0, 1, 5) == "file " && (substr($0, 6, index($0, ".") - 6) in wanted) }
    on
    END { exit status == "" ? 1 : status }'
}

# What is known of one job together, from names and from a batch.
UNION='function word(text) { return text == "" || text ~ /[^A-Za-z0-9._:+-]/ ? "-" : text }
  function note(name,   part) {
    key = substr(name, 1, index(name, ".") - 1); fact = substr(name, length(key) + 2)
    has[key, fact]; if (split(fact, part, ".") == 2 && part[2] + 0 > top[key]) top[key] = part[2] + 0 }
  function from_batch(line,   at) {
    if (substr(line, 1, 1) != "|") { note(substr(line, 6)); kept[key]; return }
    at = index(line, "="); if (fact == "id" || fact ~ /^gone/) value[key, fact, substr(line, 2, at - 2)] = substr(line, at + 1) }
  function kept_id(name) { return word(value[key, "id", name]) }'

# late_jobs APP: those of $_maybe whose facts came after they were sealed: the ones that are open again, as open_jobs says it.
# `~` last: without it something died on the way.
late_jobs() {
  _keys=
  IFS=$NL
  for _line in $_maybe; do case $_line in *' late') _keys="$_keys${_line%% *}$NL" ;; esac; done
  unset IFS
  { printf '%s' "$_keys" | sealed_files
    printf '= %s\n%s\n~\n' $? "$names"; } | awk -v app="$1" "$VALID$UNION"'
    { whole = $0 == "~" }
    !live && $1 == "=" { live = 1; status = $2; next }
    !live { from_batch($0); next }
    valid($0) && (substr($0, 1, index($0, ".") - 1) in kept) { note($0) }
    END {
      if (!whole || status == 1) exit 1
      # What a damaged batch lacks of them may be their end.
      if (status) split("", kept)
      for (key in kept) {
        a = top[key] ? top[key] : 1; gone = "gone." a
        if ((key, "sched." a) in has || !((key, "id") in has)) continue
        print kept_id("scheduler"), kept_id("cluster"), app, ((key, "exit." a) in has) + 0, \
          (key, gone) in has ? word(value[key, gone, "time"]) : "none", kept_id("id"), kept_id("submitted"), a, key, \
          kept_id("sid"), kept_id("start_ticks"), kept_id("boot")
      }
      print "~"
    }' | while read -r _kind _cluster _app _exited _gone _id _submitted _a _key _rest; do
    [ "$_kind" != '~' ] || { echo '~'; break; }
    # "-": it is a live fact, of which only the name was looked at.
    [ "$_gone" != - ] || _gone=$(gone_since "$_key" "$_a")
    [ "$_gone" != none ] || _gone=-
    printf '%s\n' "$_kind $_cluster $_app $_exited $_gone $_id $_submitted $_a $_key $_rest"
  done
}

gone_since() {
  [ -f "facts/$1.gone.$2" ] && [ ! -h "facts/$1.gone.$2" ] && while IFS='=' read -r _word _value; do
    case $_word:$_value in time:*[!0-9]* | time:) ;; time:*) echo "$_value"; return ;; esac
  done <"facts/$1.gone.$2"
  echo -
}
