# beside.sh: for a reader that keeps no facts, only what they amount to ("whole"). All that speaks of a job comes together, from
# wherever it lies, so that the job can be told anew by one who does not have it.

# beside OPEN SEALED, after `records`: OPEN are the lines of open_jobs, SEALED the batches that the reader has. It sends
# - `beside`, packed: the files of the open jobs, and of those in a batch that was just sent, unless their bucket was sent;
# - once more, the batches that the reader has and that hold a job of a bucket or a batch that was sent, or an open one
#   whose settings are no longer among the live ones.
beside() {
  _had= _jobs=$1
  IFS=,
  set -- $2
  unset IFS
  for _name do
    case $_name in */*) continue ;; esac
    is_plain "sealed/$_name" || continue
    # What it holds is what its list says.
    if is_plain "sealed/${_name%gz}names" && [ -r "sealed/${_name%gz}names" ]; then _had="$_had$_name "; else say unreadable "$_name"; fi
  done
  if [ -n "$_jobs$batches" ]; then
    _files=$(touched "$_jobs" files | sort) || { trouble='closed'; return 1; }
    case $_files in *'~') ;; *) trouble='closed'; return 1 ;; esac  # its last line: something was killed on the way
    _files=${_files%'~'}
    [ -z "$_files" ] || { say beside; { odd_files; printf '%s' "$_files"; } | send_files ''; }
  fi
  [ -n "$_had" ] && [ -n "$_jobs$batches$changed" ] || return 0
  _again=$(touched "$_jobs" batches)
  case $_again in *'~') ;; *) trouble='closed'; return 1 ;; esac
  for _name in ${_again%'~'}; do
    [ -r "sealed/$_name" ] && _size=$(wc -c <"sealed/$_name") || { say unreadable "$_name"; continue; }
    send_batch "$_name" $_size
  done
}

# touched OPEN files|batches: the live files that come beside, or the batches that are sent again; `~` last.
touched() {
  { printf '%s\n=sent\n' "$1"; printf '%s\n' $batches; echo =had; printf '%s\n' $_had; printf '=live\n%s\n' "$names"; } |
    awk -v wanted="$2" -v changed=",$changed" "$VALID"'
      function key_of(name,   dot) { dot = index(name, "."); return dot ? substr(name, 1, dot - 1) : name }
      function list(batch) { sub(/\.gz$/, ".names", batch); return "sealed/" batch }
      /^=/ { part = $0; next }
      part == "" { if (NF > 8) open[$9] = 1; next }
      part == "=sent" { if ($0 != "") { while ((getline line < list($0)) > 0) touched[key_of(line)] = 1; close(list($0)) } next }
      part == "=had" { if ($0 != "") had[++batches] = $0; next }
      valid($0) {
        key = key_of($0); sent = index(changed, "," substr(key, 1, 1) ":")
        if (wanted == "files") { if (!sent && ((key in open) || (key in touched))) print }
        else { if (sent) touched[key] = 1; if ($0 ~ /\.json$/) json[key] = 1 }
      }
      END {
        if (wanted == "batches") {
          for (key in open) if (!(key in json)) touched[key] = 1
          for (key in touched) some = 1
          for (i = 1; some && i <= batches; i++) {
            while ((getline line < list(had[i])) > 0) if (key_of(line) in touched) { print had[i]; break }
            close(list(had[i]))
          }
        }
        print "~"
      }'
}
