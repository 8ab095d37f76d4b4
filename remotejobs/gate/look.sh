# look.sh, before a gate is installed: what it needs to know of the account. Nothing is changed. Standard input: a random word.
IFS= read -r WORD || exit 65
keys=$HOME/.ssh/authorized_keys
say() { printf '%s %s %s\n' "$WORD" "$1" "$(printf '%s' "$2" | base64 | tr -d '\n')"; }
say home "$HOME"
say PATH "$PATH"
say SLURM_CONF "${SLURM_CONF-}"
say LANG "${LANG-}"
say LC_ALL "${LC_ALL-}"
say TZ "${TZ-}"
say env "$(command -v env)"
say timeout "$(command -v timeout)"
# What sshd lets a client set, as far as anybody may read that.
say accepts "$(sed -n 's/^[ 	]*[Aa][Cc][Cc][Ee][Pp][Tt][Ee][Nn][Vv][ 	=]//p' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf 2>/dev/null)"
if [ -f "$keys" ]; then printf '%s keys %s\n' "$WORD" "$(head -c 1048577 "$keys" | base64 | tr -d '\n')"
elif [ -e "$keys" ]; then say odd "$keys"
fi
printf '%s bye\n' "$WORD"
