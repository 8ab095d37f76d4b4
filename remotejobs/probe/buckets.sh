# buckets.sh: what of the records a client lacks, and sending it.

# Up to 6 digits of n and 5 of an attempt, as Python takes them.
VALID='function valid(name) {
  if (length(name) < 36 || length(name) > 60 || substr(name, 1, 32) ~ /[^0-9a-f]/ || substr(name, 33, 1) != "_") return 0
  return substr(name, 34) ~ /^[1-9][0-9]?[0-9]?[0-9]?[0-9]?[0-9]?\.(json|id|cleaned|(start|exit|sched|gone|cancel)\.[1-9][0-9]?[0-9]?[0-9]?[0-9]?)$/
}'

# new_batches SEALED [whole]: those that the client lacks.
new_batches() {
  set +f
  for _batch in sealed/*.gz; do
    _name=${_batch#sealed/}
    case ",$1," in *",$_name,"*) continue ;; esac
    [ -e "$_batch" ] || [ -h "$_batch" ] || continue
    is_plain "$_batch" || { say unreadable -; continue; }
    if [ "$2" = whole ]; then
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

send_batch() { say sealed "$1" $2; head -c $2 "sealed/$1" && echo; }

changed_buckets() {
  _sorted=$(printf '%s\n' "$names" | awk "$VALID"'
    valid($0) { print; next } $0 != "" && $0 != "facts:" && $0 != "settings:" { skipped++ } END { print "~" skipped + 0 }' | sort)
  case $_sorted in *~*) ;; *) trouble='closed'; return 1 ;; esac  # its last line: something was killed on the way
  say skipped "${_sorted##*~}"
  _sorted=${_sorted%'~'*}
  _sums=$(printf '%s' "$_sorted" | awk -v made="$made" '{
    if (substr($0, 1, 1) != bucket) { if (bucket != "") close(sum); bucket = substr($0, 1, 1); sum = "echo " bucket " $(cksum)"; print made | sum }
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
