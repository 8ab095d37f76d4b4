# request.sh of the gate: whoever holds the key may send anything. A line counts if it has exactly one of the forms below; a known
# verb in another form, or a byte too many, and nothing of the request is done.

# What a line may be, checked before the shell sees a word of it. `~` last: it came whole, and all of it is in order.
GATE_FORMS='
  function app(w) { return length(w) <= 64 && w ~ /^[A-Za-z0-9][A-Za-z0-9._-]*$/ }
  function hash(w) { return length(w) == 32 && w !~ /[^0-9a-f]/ }
  function number(w, most) { return w ~ /^[0-9]+$/ && length(w) <= most }
  function key(w) { return length(w) <= 39 && hash(substr(w, 1, 32)) && substr(w, 33) ~ /^_[1-9][0-9]*$/ }
  function uuid(w) { return length(w) == 36 && w !~ /[^0-9a-f-]/ }
  function change(w,   at, name, value) {
    at = index(w, "="); name = substr(w, 1, at - 1); value = substr(w, at + 1)
    if (name == "partition") return length(value) <= 200 && value ~ /^[A-Za-z0-9][A-Za-z0-9._,-]*$/
    return name ~ /^(walltime|memory|cores)$/ && value ~ /^[1-9][0-9]*$/ && length(value) <= 10
  }
  function source() {
    return (NF == 5 || NF == 6 && $6 == "whole") && app($2) && length($3) < 40 && $3 ~ /^([0-9]+-[0-9]+|-)$/ &&
      length($4) < 2000 && $4 ~ /^([0-9a-f]:[0-9]+-[0-9]+,)*([0-9a-f]:[0-9]+-[0-9]+|-)$/ && $5 ~ /^([*-]|[A-Za-z0-9.,-]+)$/
  }
  function resubmit(   i) {
    for (i = 6; i <= NF; i++) if (!change($i)) return 0
    return NF >= 5 && NF <= 9 && uuid($2) && app($3) && key($4) && number($5, 11)
  }
  function taken() {
    if ($1 == "source") return source() && ++sources <= 100
    if ($1 == "cancel") return NF == 5 && uuid($2) && app($3) && key($4) && ($5 == "sent" || $5 == "-") && ++actions <= 1000
    if ($1 == "resubmit") return resubmit() && ++actions <= 1000
    if ($1 == "log") return NF == 6 && app($2) && key($3) && ($4 == "stdout" || $4 == "stderr") && number($5, 5) && $6 == "-" && ++logs <= 10
    return 0
  }
  NR == 1 {
    if (NF != 4 || $1 != "remotejobs" || $2 !~ /^[0-9][0-9.]*$/ || length($2) > 10) exit
    if ($3 ~ /[^0-9a-f]/ || length($3) < 8 || length($3) > 64 || !number($4, 6)) exit
    print; if ($2 != protocol) { print "~"; exit }
    next
  }
  $0 == "end" { print "~"; exit }
  $1 ~ /^(source|cancel|resubmit|log)$/ { if (!taken()) exit; print; next }
  $1 == "submit" { if (!uuid($2) || ++actions > 1000) exit; print "submit\t" $2; next }
  $1 !~ /^[a-z]+$/ { exit }'

# read_request: as the probe has it, with at most five minutes. Of another protocol only the first line is understood: the answer then
# says which this one is, and nothing else.
read_request() {
  _lines=$(head -c 1048576 | awk -F "$TAB" -v protocol="$PROBE" "$GATE_FORMS" 2>/dev/null)
  case $_lines in *"$NL~") ;; *) echo "remotejobs gate $GATE: that was no request of remotejobs, and nothing was done."; exit 65 ;; esac
  IFS=$NL
  for _line in $_lines; do
    _rest=${_line#*"$TAB"}
    case $_line in
      remotejobs*) IFS=$TAB; set -- $_line; WORD=$3 BUDGET=$4; IFS=$NL ;;
      source*) sources="$sources$_rest$NL" ;;
      cancel*) cancels="$cancels$_rest$NL" ;;
      resubmit* | submit*) submissions="$submissions$_line$NL" ;;
      log*) questions="$questions$_line$NL" ;;
    esac
  done
  unset IFS
  BUDGET=$((BUDGET < 300 ? BUDGET : 300))
}

# submit_new UUID: what would bring its own script is refused, and the word for that is all that is here of it.
submit_new() { settled "$1" refused - - narrow; }
