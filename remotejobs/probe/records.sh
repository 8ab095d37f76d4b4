# records.sh: whether there is anything that the client lacks, and anything that may still be alive.

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
  if [ "$total" = "$1" ]; then known=$2; note same; else more; changed_buckets "$2" || return 1; fi
  note total "$total"
  [ "$3" = '*' ] || has_batches "$3"
  case $? in 0) ;; 1) more; new_batches "$3" "$4" ;; *) trouble='closed'; return 1 ;; esac
}

# is_empty FOLDER: it can be listed, and has no names. A link that leads nowhere is one too.
is_empty() {
  set +f; set -- "$1" "$1"/*; set -f
  [ "$2" = "$1/*" ] && [ ! -e "$2" ] && [ ! -h "$2" ] && [ -r "$1/." ]
}

# has_batches SEALED: the client has all there are and no others. 1: it may lack some. 2: the registry has gone.
has_batches() {
  cd sealed 2>/dev/null || return 1
  set +f
  set -- "$1" *.gz
  set -f
  cd "$R" || return 2
  _had=$1
  shift
  IFS=,
  set -- "$*"
  unset IFS
  [ "$1" = "$_had" ]
}

# still_open APP: $_open become the open jobs of $names. 1: nobody knows.
still_open() {
  _open=
  case $names in *.*) more; _open=$(open_jobs "$1") ;; *) return 0 ;; esac
  case $_open in *'~') _open=${_open%'~'} ;; *) _open= trouble='closed'; return 1 ;; esac
}

# look_for_earlier: $earlier where a job may still come that was handed over a second time (queue.sh).
look_for_earlier() {
  set +f; set -- actions/earlier.*; set -f
  [ ! -e "$1" ] || { tell_time; earlier=yes; }
}
