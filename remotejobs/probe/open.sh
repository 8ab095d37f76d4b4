# open.sh: which jobs may still be alive.

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
