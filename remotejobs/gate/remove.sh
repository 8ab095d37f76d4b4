# remove.sh: takes the gates of this account away, whatever their protocol. Standard input: a random word.
IFS= read -r WORD || exit 65
folder=$HOME/.remotejobs-gate said=removed
if [ -h "$folder" ]; then said=link
elif [ -d "$folder" ]; then rm -rf "$folder" 2>/dev/null || said=not-stored
else said=none
fi
printf '%s %s\n' "$WORD" "$said"
