# again.sh: the kept script of a job once more.

# resubmission UUID APP KEY ASKED [NAME=VALUE ...]: with other resources, where they are named.
resubmission() {
  is_key "$3" || { settled "$1" refused - - no-job; return; }
  enter "$2"
  case $? in 1) settled "$1" unknown - - absent; return ;; 2) settled "$1" unknown - - "$trouble"; return ;; esac
  # What an earlier try has done stands, whatever has become of the record since; what one has begun is not refused.
  uuid=$1 act=actions/$1 hash=${3%_*} key=- id=- code=failed state=refused text=
  is_uuid "$1" && earlier_try && { settled "$1" "$state" "$key" "$id" "$code" "$text"; return; }
  kept "$3"
  case $? in
    0) belongs_here "$1" "$3" && repeat "$@" ;;
    1) settled "$1" "$state" - - no-job ;;
    *) settled "$1" unknown - - unreadable ;;
  esac
}

repeat() {
  _uuid=$1 _app=$2 _hash=${3%_*} _asked=$4
  # What was killed on the way has refused nothing.
  _kind=$(member scheduler) || { settled "$_uuid" unknown - - unreadable; return; }
  shift 4
  [ $# = 0 ] || changed "$_kind" "$@"
  case $? in
    0) ;;
    1) settled "$_uuid" "$state" - - no-option; return ;;
    *) settled "$_uuid" unknown - - unreadable; return ;;
  esac
  submission "$_uuid" "$_app" "$_hash" "$_kind" "$_asked" again
}

# is_change NAME=VALUE: of what a job may be given anew, and a plain word.
is_change() {
  case $1 in
    walltime=* | memory=* | cores=*) case ${1#*=} in '' | 0* | *[!0-9]* | ???????????*) return 1 ;; esac ;;
    partition=*) case ${1#*=} in '' | [!A-Za-z0-9]* | *[!A-Za-z0-9._,-]*) return 1 ;; esac; [ ${#1} -le 210 ] ;;
    *) return 1 ;;
  esac
}

# changed KIND NAME=VALUE...: $document says so, in its options and at the head of its script. 1: this cannot be changed, other:
# that is not known.
changed() {
  is_kind "$1" || return 1
  _to=$1
  shift
  for _change do is_change "$_change" || return 1; done
  _head=$("${_to}_header" "$@") && [ -n "$_head" ] || return 1
  document=$(printf '%s\n' "$_head" = "$document" | awk -v changes="$*" "$CHANGE") && [ -n "$document" ]
}

# The lines of the head, "=", then the record, with a member per line. What begins as one of these lines, up to its "=", goes from
# the head of the script, and the named members from the options; the new ones come last.
CHANGE='
  BEGIN { n = split(changes, change, " "); for (i = 1; i <= n; i++) { split(change[i], part, "="); is_new[part[1]] } }
  !begun && $0 == "=" { begun = 1; next }
  !begun { added[++lines] = $0; next }
  index($0, "\"header\": \"") == 1 { $0 = head($0); found++ }
  index($0, "\"options\": {") == 1 { $0 = options($0); found++ }
  { print }
  END { if (found != 2) exit 1 }
  function head(text,   end, i, c, one, out) {
    end = text ~ /,$/ ? "," : ""; sub(/^"header": "/, "", text); sub(/",?$/, "", text)
    for (i = 1; i <= length(text); i++) {
      c = substr(text, i, 1); if (c == "\\") c = c substr(text, ++i, 1)
      if (c == "\\n") { out = out other(one); one = "" } else one = one c
    }
    out = out other(one)
    for (i = 1; i <= lines; i++) out = out added[i] "\\n"
    return "\"header\": \"" out "\"" end
  }
  function other(one,   i, start) {
    # Slurm takes memory of a node, or per processor, not both.
    for (i = 1; i <= lines; i++) {
      start = added[i]; sub(/=[^=]*$/, "=", start)
      if (index(one, start) == 1 || start ~ / --mem=$/ && index(one, "#SBATCH --mem-per-") == 1) return ""
    }
    return one == "" ? "" : one "\\n"
  }
  # A comma outside of strings, lists and objects parts two members.
  function options(text,   end, i, c, inside, depth, one, out) {
    end = text ~ /,$/ ? "," : ""; sub(/^"options": [{]/, "", text); sub(/[}],?$/, "", text)
    for (i = 1; i <= length(text); i++) {
      c = substr(text, i, 1); if (c == "\\") c = c substr(text, ++i, 1)
      if (c == "\"") inside = !inside
      if (!inside) depth += (c == "{" || c == "[") - (c == "}" || c == "]")
      if (c == "," && !inside && !depth) { out = out old(one); one = "" } else one = one c
    }
    out = out old(one)
    for (i = 1; i <= n; i++) { split(change[i], part, "="); out = out ", \"" part[1] "\": " (part[2] ~ /^[0-9]+$/ && part[1] != "partition" ? part[2] : "\"" part[2] "\"") }
    return "\"options\": {" substr(out, 3) "}" end
  }
  function old(one,   name) {
    sub(/^ +/, "", one); name = one; sub(/^"/, "", name); sub(/".*$/, "", name)
    return one == "" || (name in is_new) ? "" : ", " one
  }'

# belongs_here UUID KEY: whether the job that is to run again is of this cluster or host; else that is the outcome. What was
# begun goes on, wherever it was.
belongs_here() {
  is_uuid "$1" && [ ! -d "actions/$1" ] || return 0
  _origin=$(ran_at "$2") _kind=$(member scheduler)
  [ -n "$_origin" ] && is_kind "$_kind" && here "$_kind" && _here=$("${_kind}_cluster" 2>/dev/null) || return 0
  [ "$_origin" = "$_here" ] || { settled "$1" refused - - elsewhere "$_origin"; return 1; }
}

# ran_at KEY: the cluster (or host) that the job was submitted on; nothing if that is not known.
ran_at() { known_id "$1" && printf '%s\n' "$f_cluster"; }

# kept KEY: $document becomes what was asked then, from its file or from a sealed batch, without its jobid. 1: there is
# none, 2: it cannot be read.
kept() {
  if [ -f "settings/$1.json" ]; then document=$(cat "settings/$1.json" 2>/dev/null)
  else
    is_there "$1" || return $?
    document=$(printf '%s\n' "$1" | sealed_files | awk -v head="file $1.json" '
      substr($0, 1, 1) != "|" { on = $0 == head; next } on { print substr($0, 2) }')
  fi
  case $document in '{'*'}') ;; *) return 2 ;; esac
  document=$(printf '%s\n' "$document" | sed -e '/^"jobid": "/d' -e '/^"again_of": "/d' -e "1a\\
\"again_of\": \"$1\",")
}
