#!/bin/sh
# The gate of remotejobs, @GATE@. A key that stands in ~/.ssh/authorized_keys with command="/bin/sh @PATH@"
# runs this, whatever it asks for: the jobs that remotejobs keeps of this account can be listed, cancelled and run again (their kept
# scripts, at most with another walltime, memory, cores or partition), and the end of what they print can be read. Nothing else.
# `remotejobs install-gate` made it, and renews or removes it.

# First of all the environment, of which a client may have sent some: words of the shell alone, which nothing can take the place of.
case $1 in
  go | shown) ;;
  *)
    # Whoever does not begin as our clients do (a person, scp) is told so, and would wait for ever otherwise. It is not run.
    case ${SSH_ORIGINAL_COMMAND-} in 'exec /bin/sh -c '* | remotejobs*) set -- go ;; *) set -- shown ;; esac
    exec @ENV@ -i HOME="$HOME" USER="$USER" LOGNAME="$LOGNAME" SHELL="${SHELL:-/bin/sh}" @SETTINGS@ \
      @TIMEOUT@ -k 10 600 /bin/sh '@PATH@' "$1" ;;
esac
GATE='@GATE@'
case $1 in shown)
  echo "remotejobs gate $GATE: this key lists, cancels and repeats jobs for remotejobs, and opens no shell." >&2
  exit 1 ;;
esac
