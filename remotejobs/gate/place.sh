# place.sh: puts a gate where the keys look for it. Standard input: a random word, its protocol and its SHA-256, then the gate itself.
# Another one there is replaced in one step: who is running it goes on with the old one.
IFS=' ' read -r WORD protocol sum || exit 65
case $protocol in '' | *[!0-9.]*) exit 65 ;; esac
folder=$HOME/.remotejobs-gate
umask 077
is_it() { [ "$(sha256sum <"$1" 2>/dev/null)" = "$sum  -" ]; }
said=not-stored
if [ -h "$folder" ] || [ -h "$folder/$protocol" ]; then said=link
elif mkdir -p "$folder/$protocol" 2>/dev/null && chmod 700 "$folder" "$folder/$protocol" 2>/dev/null; then
  new=$folder/$protocol/.new.$WORD
  cat >"$new" 2>/dev/null && is_it "$new" && chmod 500 "$new" && mv -f "$new" "$folder/$protocol/gate" && is_it "$folder/$protocol/gate" && said=placed
  rm -f "$new"
fi 2>/dev/null
cat >/dev/null
printf '%s %s\n' "$WORD" "$said"
