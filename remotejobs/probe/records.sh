# records.sh: what is there, what of it the client lacks, and which jobs may still be alive.

# ---- records ----
# Up to 6 digits of n and 5 of an attempt, as Python takes them.
VALID='function valid(name) {
  if (length(name) < 36 || length(name) > 60 || substr(name, 1, 32) ~ /[^0-9a-f]/ || substr(name, 33, 1) != "_") return 0
  return substr(name, 34) ~ /^[1-9][0-9]?[0-9]?[0-9]?[0-9]?[0-9]?\.(json|id|cleaned|(start|exit|sched|gone|cancel)\.[1-9][0-9]?[0-9]?[0-9]?[0-9]?)$/
}'

# records TOTAL BUCKETS SEALED [whole] (as the client has them; SEALED "*": not wanted). Sets $total and $known, the checksums of
# all buckets as they are now, and what was sent: $changed (buckets) and $batches. Names first, sealed names after: a record that is
# sealed in between is sent twice and never not at all.
records() {
  changed= batches= names= total=0-0
  # Where nothing was live and nothing is, the shell sees that by itself.
  [ "$1" = 0-0 ] && is_empty settings && is_empty facts || {
    tell_time
    names=$(ls settings facts 2>/dev/null) || { trouble='closed'; return 1; }
    case $names in
      "facts:$NL${NL}settings:") ;;  # nothing is live, in whatever registry: there is nothing to add up
      *) total=$(printf '%s\n' "$made" "$names" | cksum); total=${total%% *}-${total##* } ;;
    esac
  }
  if [ "$total" = "$1" ]; then known=$2; say same; else changed_buckets "$2" || return 1; fi
  say total "$total"
  [ "$3" = '*' ] && return 0
  set +f
  for _batch in sealed/*.gz; do
    _name=${_batch#sealed/}
    case ",$3," in *",$_name,"*) continue ;; esac
    [ -e "$_batch" ] || [ -h "$_batch" ] || continue
    is_plain "$_batch" || { say unreadable -; continue; }
    if [ "$4" = whole ]; then
      # Until its list is there, all that it holds is live as well.
      [ -e "${_batch%gz}names" ] || continue
      is_plain "${_batch%gz}names" && [ -r "${_batch%gz}names" ] || { say unreadable "$_name"; continue; }
    fi
    [ -r "$_batch" ] && _size=$(wc -c <"$_batch") || { say unreadable "$_name"; continue; }
    batches="$batches$_name "
    tell_time
    send_batch "$_name" $_size
  done
  set -f
}

# is_empty FOLDER: it can be listed, and has no names. A link that leads nowhere is one too.
is_empty() {
  set +f; set -- "$1" "$1"/*; set -f
  [ "$2" = "$1/*" ] && [ ! -e "$2" ] && [ ! -h "$2" ] && [ -r "$1/." ]
}

send_batch() { say sealed "$1" $2; head -c $2 "sealed/$1" && echo; }

changed_buckets() {
  _sorted=$(printf '%s\n' "$names" | awk "$VALID"'
    valid($0) { print; next } $0 != "" && $0 != "facts:" && $0 != "settings:" { skipped++ } END { print "~" skipped + 0 }' | sort)
  case $_sorted in *~*) ;; *) trouble='closed'; return 1 ;; esac  # its last line: something was killed on the way
  say skipped "${_sorted##*~}"
  _sorted=${_sorted%'~'*}
  _sums=$(printf '%s' "$_sorted" | awk -v made="$made" '{
    if (substr($0, 1, 1) != bucket) { if (bucket != "") close(sum); bucket = substr($0, 1, 1); sum = "echo " bucket " `cksum`"; print made | sum }
    print | sum
  } END { if (bucket != "") close(sum); print "~" }')
  case $_sums in *~) _sums=${_sums%'~'} ;; *) trouble='closed'; return 1 ;; esac
  known= _there=
  IFS=$NL
  for _line in $_sums; do
    _bucket=${_line%% *} _sum=${_line#* } _there=$_there${_line%% *}
    _sum=$_bucket:${_sum% *}-${_sum#* }
    known="$known$_sum,"
    case ",$1," in *",$_sum,"*) ;; *) changed="$changed$_sum," ;; esac
  done
  unset IFS
  say buckets "${_there:--}"
  say packed
  { odd_files; printf '%s' "$_sorted"; } | send_files ",$changed"
}

# What is no plain file could block or flood the reader; 2048 blocks are 1 MiB. Its last line says that it came to its end: with 1
# where a file went meanwhile.
odd_files() { { find settings facts \( ! -type f -o -size +2048 \) -print 2>/dev/null; echo "~$?"; } | sed 's/^/!/'; }

# send_files CHANGED <odd_files, names: what is in these files, packed. With CHANGED, only those of these buckets, each bucket
# under a line with its checksum.
send_files() {
  awk -v changed="$1" '
    substr($0, 1, 1) == "!" { if ($0 ~ /^!~[01]$/) looked = 1; bad[substr($0, 2)] = 1; next }
    changed != "" {
      bucket = substr($0, 1, 1); at = index(changed, "," bucket ":"); if (!at) next
      if (bucket != now) { now = bucket; sum = substr(changed, at + 3); print "bucket", bucket, substr(sum, 1, index(sum, ",") - 1) }
    }
    {
      path = ($0 ~ /\.json$/ ? "settings/" : "facts/") $0
      status = (!looked || path in bad) ? -1 : 0; n = 0
      if (!status) { while ((status = (getline line < path)) > 0) text[++n] = line; close(path) }
      files++
      if (status < 0) { print "unreadable", $0; next }
      print "file", $0
      for (i = 1; i <= n; i++) print "|" text[i]
    }
    END { print "closed", files + 0 }' | gzip -c | base64
}

# open_jobs APP: the jobs of $names that may still be alive, one line each:
# KIND CLUSTER APP EXITED GONE(time) ID SUBMITTED ATTEMPT KEY SID TICKS BOOT
# One is open until the scheduler's last word on its highest attempt is kept. `~` last: without it something died on the way.
open_jobs() {
  case $names in *.id* | *.start.* | *.exit.* | *.sched.* | *.gone.* | *.cancel.*) ;; *) echo '~'; return ;; esac
  _maybe=$(printf '%s\n' "$names" | awk "$VALID"'
    valid($0) {
      dot = index($0, "."); key = substr($0, 1, dot - 1); n = split(substr($0, dot + 1), part, ".")
      if (part[1] == "id") id[key] = 1
      if (n == 2) { a = part[2] + 0; if (a > top[key]) top[key] = a; has[key, part[1], a] = 1 }
    }
    END {
      for (key in id) {
        a = top[key] ? top[key] : 1
        if (!((key, "sched", a) in has)) print key, a, ((key, "exit", a) in has) + 0, ((key, "gone", a) in has) + 0
      }
      # After it was sealed; no more of them than one exchange has time for.
      for (key in top) if (!(key in id) && !((key, "sched", top[key]) in has) && ++late <= 1000) print key, top[key], "late"
      print "~"
    }')
  case $_maybe in '~') echo '~'; return ;; *'~') ;; *) return ;; esac
  case $_maybe in *late*)
    _late=$(late_jobs "$1")
    case $_late in *'~') printf '%s' "${_late%'~'}" ;; *) return ;; esac ;;
  esac
  plain_files | awk -v app="$1" '
    function word(text) { return text == "" || text ~ /[^A-Za-z0-9._:+-]/ ? "-" : text }
    function facts(path,   line, at) {
      split("", fact); ended = 0
      while ((getline line < path) > 0) { if (line == "end") { ended = 1; break } at = index(line, "="); fact[substr(line, 1, at - 1)] = substr(line, at + 1) }
      close(path)
      return ended
    }
    { whole = $0 == "~" }
    {
      key = $1; a = $2; gone = "-"
      if ($4 && facts("facts/" key ".gone." a)) gone = word(fact["time"])
      if (!facts("facts/" key ".id")) next
      print word(fact["scheduler"]), word(fact["cluster"]), app, $3, gone, word(fact["id"]), word(fact["submitted"]), a, key, \
        word(fact["sid"]), word(fact["start_ticks"]), word(fact["boot"])
    }
    END { if (whole) print "~" }'
}

# still_open APP: $_open become the open jobs of $names. 1: nobody knows.
still_open() {
  _open=
  case $names in *.*) _open=$(open_jobs "$1") ;; *) return 0 ;; esac
  case $_open in *'~') _open=${_open%'~'} ;; *) _open= trouble='closed'; return 1 ;; esac
}

# plain_files: of the lines in $_maybe, those whose facts can be opened: a pipe in their place would block us for ever.
plain_files() {
  IFS=$NL
  for _line in $_maybe; do
    IFS=' '
    set -- $_line
    [ -f "facts/$1.id" ] && [ ! -h "facts/$1.id" ] || continue
    [ -f "facts/$1.gone.$2" ] && [ ! -h "facts/$1.gone.$2" ] || set -- "$1" "$2" "$3" 0
    printf '%s\n' "$*"
  done
  echo '~'
}
