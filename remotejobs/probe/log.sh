# log.sh: the end of what a job has printed.

# question_log APP KEY stdout|stderr LIMIT: says "log KEY STREAM SIZE TEXT(base64)", or "nolog KEY STREAM CODE". Only a plain file of
# that name in the job's own run folder is read, with no other name anywhere: neither links nor what else lies there.
question_log() {
  is_key "$2" || return 0
  case $3 in stdout | stderr) ;; *) return 0 ;; esac
  case $4 in '' | 0* | *[!0-9]* | ??????*) return 0 ;; esac
  _limit=$(($4 < 65536 ? $4 : 65536))
  enter "$1"
  case $? in 1) say nolog "$2" "$3" no-job; return ;; 2) say nolog "$2" "$3" "$trouble"; return ;; esac
  _size=
  if [ -d runs ] && [ ! -h runs ] && [ -d "runs/$2" ] && [ ! -h "runs/$2" ]; then
    _size=$(find "runs/$2/$3" -prune -type f -links 1 -exec wc -c {} \; 2>/dev/null)
    _size=${_size%% *}
    case $_size in
      '') [ -e "runs/$2/$3" ] || [ -h "runs/$2/$3" ] && _size=odd-log || _size=no-log ;;
      *[!0-9]*) _size=odd-log ;;
      *) _text=$(tail -c "$_limit" "runs/$2/$3" 2>/dev/null | base64 | tr -d "$NL")
        say log "$2" "$3" "$_size" "${_text:--}"
        return ;;
    esac
  elif [ -e "settings/$2.json" ]; then _size=cleaned
  else was_sealed "$2" && _size=cleaned || _size=no-job
  fi
  say nolog "$2" "$3" "$_size"
}
