# new.sh: a submission that brings its own script.

# submit_new UUID APP HASH KIND ASKED DOCUMENT(base64)
submit_new() {
  document=$(printf '%s' "$6" | base64 -d 2>/dev/null) && case $document in '{'*'}') ;; *) false ;; esac ||
    { settled "$1" unknown - - failed; return; }
  submission "$1" "$2" "$3" "$4" "$5"
}
