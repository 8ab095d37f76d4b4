# trash.sh: the run folders of sealed jobs go to the trash, and what has lain there for long enough is removed.

# A folder per exchange: its time is when the last one was moved into it, by the file system's clock.
to_trash() { mkdir "trash/$WORD" 2>/dev/null; [ -d "trash/$WORD" ] && xargs sh -c 'into=$1; shift; mv "$@" "$into/" 2>/dev/null' sh "trash/$WORD"; }

# to_move: $list becomes the run folders of sealed jobs, at most 5000. A job of which there are names is alive, or waits for its own
# batch; one that was requeued has made its folder anew, and its first fact may be on the way: what is younger than a day stays.
to_move() { live_names && whole "$(of_sealed)"; }
of_sealed() {
  { find runs/. ! -name . -prune ! -newer "$T.day" -print 2>/dev/null && printf '=live\n%s\n=sealed\n' "$names" && sealed_keys && echo '~'; } | awk '
    $0 == "~" { whole = 1; next }
    /^=/ { part = $0; next }
    part == "" { there[substr($0, 8)]; next }
    part == "=live" { delete there[substr($0, 1, index($0, ".") - 1)]; next }
    ($0 in there) && n++ < 5000 { print "runs/" $0; delete there[$0] }
    END { if (whole) print (n > 5000 ? "~more" : "~") }'
}

move_folders() {
  to_move && [ -n "$list" ] || return 0
  printf '%s\n' "$list" | to_trash
  folders=$(ls "trash/$WORD" 2>/dev/null | wc -l)
}

# empty_trash: what is due first gets another name, since removing part of a folder makes it young.
empty_trash() {
  if [ -e "$T.trash" ] && whole "$(due_in_trash)" && [ -n "$list" ]; then
    # On a full disk there is no room for a folder: then what is first of them goes as it lies, and makes room.
    mkdir "trash/over.$WORD" 2>/dev/null || rm -rf "${list%%"$NL"*}" 2>/dev/null
    mkdir "trash/over.$WORD" 2>/dev/null
    printf '%s\n' "$list" | xargs sh -c 'into=$1; shift; mv "$@" "$into/" 2>/dev/null' sh "trash/over.$WORD"
  fi
  emptied=$(find "trash/over.$WORD" -mindepth 2 -maxdepth 2 2>/dev/null | wc -l)
  set +f
  $BOUND rm -rf trash/over.* 2>/dev/null
  case $? in
    0) ;;
    124 | 137 | 143) more=1 ;;
    # What a job made read-only is its owner's to remove all the same.
    *) $BOUND chmod -R u+rwX trash/over.* 2>/dev/null; $BOUND rm -rf trash/over.* 2>/dev/null || more=1 ;;
  esac
  set -f
}

due_in_trash() { find trash/. ! -name . -prune ! -name 'over.*' ! -newer "$T.trash" -print 2>/dev/null && echo '~'; }

# count_due: how many run folders empty_trash would remove.
count_due() {
  [ -e "$T.trash" ] || { echo 0; return; }
  find trash/. ! -name . -prune ! -newer "$T.trash" -exec sh -c 'find "$@" -mindepth 1 -maxdepth 1' sh {} + 2>/dev/null | wc -l
}

# rm_leftovers: what killed exchanges left in actions. A submission's own folder is of use for as long as it is not refused for
# its age (7 days). The times of seal.* are made up, but that of seal.*.now.
rm_leftovers() {
  find actions/. ! -name . -prune ! -name 'seal.*' ! -newer "$T.month" -exec rm -rf {} + 2>/dev/null
  find actions/. ! -name . -prune -name 'facts.*' ! -newer "$T.day" -exec rm -rf {} + 2>/dev/null
  whole "$(find actions/. ! -name . -prune -name 'seal.*.now' ! -newer "$T.day" -print 2>/dev/null && echo '~')" || return 0
  for _now in $list; do set +f; rm -f "${_now%now}"*; set -f; done
}
