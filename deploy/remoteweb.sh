#!/bin/sh
# The commands of remoteweb on this machine, with the settings and as a user of the units: what talks to a server, and what makes
# keys, as the sync worker, all else as the pages.
set -eu
# Nothing of root's own environment goes along.
[ "${CLEAN-}" = 1 ] || exec env -i CLEAN=1 PATH=/usr/bin:/bin LANG=C.UTF-8 TERM="${TERM-dumb}" "$0" "$@"
release=$(dirname "$(readlink -f "$0")")
[ "$(id -u)" = 0 ] || { echo "This needs root: sudo remoteweb $*" >&2; exit 1; }

case ${1-} in
update-database | sync-worker | key) user=remoteweb-sync ;;
*) user=remoteweb-web ;;
esac
set -a # lines NAME=value, without spaces
. "$release/shared.env"
. /etc/remoteweb/remoteweb.env
XDG_STATE_HOME=/var/lib/$user
HOME=/var/lib/$user
if [ $user = remoteweb-sync ]; then
    # The worker's own, which systemd made when it started: this user can read them, root need not hand them out again.
    CREDENTIALS_DIRECTORY=/run/credentials/remoteweb-sync.service
    REMOTEWEB_SSH_KEYS=$CREDENTIALS_DIRECTORY
    REMOTEWEB_KEY_ENCRYPTION_FILE=$CREDENTIALS_DIRECTORY/key-encryption
fi
set +a
umask 007
cd /
exec setpriv --reuid="$user" --regid=remoteweb --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- \
    "$release/bin/remoteweb" "$@"
