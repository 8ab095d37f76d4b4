#!/bin/sh
# Installs what the tests' real parts need and this machine lacks: as root on Debian, else it does nothing (the
# tests then skip what is missing, and name it). Nothing is started as a service: the tests start their own.
set -eu

[ "${REAL:-1}" != 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
PATH=$PATH:/usr/sbin:/sbin

wanted=
want() { # PACKAGE COMMAND...
    package=$1
    shift
    for word; do
        command -v "$word" >/dev/null || { wanted="$wanted $package"; return; }
    done
}
want openssh-server sshd
want openssh-client ssh ssh-agent ssh-keygen
want slurm-wlm slurmctld slurmd sbatch squeue sacct
want slurmdbd slurmdbd
want mariadb-server mariadbd mariadb-install-db mariadb-admin mariadb
want munge munged
want chromium chromium
want chromium-headless-shell chromium-headless-shell
want iproute2 ip
want caddy caddy
want curl curl
want systemd systemd-analyze systemd-sysusers systemd-socket-activate
want tcsh tcsh
want fish fish
want busybox busybox
want gawk gawk
want mawk mawk
want util-linux setpriv
want faketime faketime
ls /usr/lib/*/security/pam_oath.so >/dev/null 2>&1 || wanted="$wanted libpam-oath"
# Debian keeps the server's commands out of the PATH.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || wanted="$wanted postgresql"
python3 -c 'import ensurepip, venv' 2>/dev/null || wanted="$wanted python3-venv"
[ -n "$wanted" ] || exit 0

echo "Installing for the tests:$wanted (nothing is started as a service)"
log=$(mktemp) policy=/usr/sbin/policy-rc.d made=
tidy() {
    rm -f "$log"
    [ -z "$made" ] || rm -f "$policy"
}
trap tidy EXIT
trap 'exit 1' HUP INT TERM
# Debian asks this file before it starts a service that it has just installed; 101 forbids it.
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made=1
fi
export DEBIAN_FRONTEND=noninteractive
apt_install() { apt-get -q -y install --no-install-recommends "$@" >>"$log" 2>&1 </dev/null; }

apt-get -q update >"$log" 2>&1 </dev/null || true
# shellcheck disable=SC2086  # a list of names
apt_install $wanted && exit 0
# One that is not to be had must not keep the others away.
lacking=
for package in $wanted; do
    apt_install "$package" || lacking="$lacking $package"
done
[ -n "$lacking" ] || exit 0
tail -n 20 "$log" >&2
echo "These packages could not be installed:$lacking. The end of apt's own output stands above." >&2
[ "${REQUIRE_REAL:-}" != 1 ] || exit 1
echo "The tests that need them will be skipped." >&2
