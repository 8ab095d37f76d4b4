# request.sh: what is asked for, as it comes on standard input.

read_request() {
  IFS=$TAB read -r _hello _format WORD BUDGET && [ "$_hello" = remotejobs ] || return 1
  case $WORD in *[!0-9a-f]* | '') return 1 ;; esac
  case $BUDGET in *[!0-9]* | '') return 1 ;; esac
  while IFS=$TAB read -r _verb _rest; do
    case $_verb in
      source) sources="$sources$_rest$NL" ;;
      cancel) cancels="$cancels$_rest$NL" ;;
      submit | resubmit) submissions="$submissions$_verb$TAB$_rest$NL" ;;
      seal | prune) cleanings="$cleanings$_verb$TAB$_rest$NL" ;;
      claimed | detect | look | log | clean) questions="$questions$_verb$TAB$_rest$NL" ;;
      end) return 0 ;;
    esac
  done
  return 1
}
