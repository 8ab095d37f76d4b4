# sealed.sh: what the batches hold of single jobs. A sealed job is back as soon as a fact of it comes late, or it is requeued.

# sealed_files: of the keys on standard input, all that the batches hold: the lines "file NAME" and "|...", as they stand there.
sealed_files() {
  _wanted=$(cat)
  set +f
  { printf '%s\n' "$_wanted" =
    printf '%s\n' "$_wanted" | grep -lsxF -f - sealed/*.names | sed 's/names$/gz/' | xargs gzip -dc; } 2>/dev/null | awk '
    !begun { if ($0 == "=") begun = 1; else wanted[$0]; next }
    substr($0, 1, 1) != "|" { on = substr($0, 1, 5) == "file " && (substr($0, 6, index($0, ".") - 6) in wanted) }
    on'
  set -f
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
late_jobs() {
  { printf '%s\n' "$_maybe" | awk '$3 == "late" && n++ < 1000 { print $1 }' | sealed_files
    printf '=\n%s\n' "$names"; } | awk -v app="$1" "$VALID$UNION"'
    $0 == "=" { live = 1; next }
    !live { from_batch($0); next }
    valid($0) && (substr($0, 1, index($0, ".") - 1) in kept) { note($0) }
    END {
      for (key in kept) {
        a = top[key] ? top[key] : 1; gone = "gone." a
        if ((key, "sched." a) in has || !((key, "id") in has)) continue
        print kept_id("scheduler"), kept_id("cluster"), app, ((key, "exit." a) in has) + 0, \
          (key, gone) in has ? word(value[key, gone, "time"]) : "none", kept_id("id"), kept_id("submitted"), a, key, \
          kept_id("sid"), kept_id("start_ticks"), kept_id("boot")
      }
    }' | while read -r _kind _cluster _app _exited _gone _id _submitted _a _key _rest; do
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
