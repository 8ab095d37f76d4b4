#!/bin/sh
# Installs remoteweb on a fresh Debian 12 or 13, or brings it to the version of this checkout. It may be run again at any time.
#
#   deploy/install.sh jobs.example.org                       on the open internet: Caddy fetches a certificate for the name
#   deploy/install.sh --private 10.8.0.1 jobs.home.arpa      on the address of a private network, with a certificate of its own
set -eu
umask 022
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
source=$(cd "$(dirname "$0")/.." && pwd)
deploy=$source/deploy root=/opt/remoteweb units=/etc/systemd/system

say() { echo "==> $*"; }
stop() {
    echo "$*" >&2
    exit 1
}

private= name=
while [ $# -gt 0 ]; do
    case $1 in
    --private) private=${2-} && shift && [ -n "$private" ] || stop "--private needs the address on which to listen." ;;
    -*) stop "There is no option $1. Usage: deploy/install.sh [--private ADDRESS] NAME" ;;
    *) name=$1 ;;
    esac
    shift
done
case $name in
'' | *[!a-z0-9.-]*) stop "Usage: deploy/install.sh [--private ADDRESS] NAME, the name such as jobs.example.org, in lower case." ;;
esac
case $private in
*[!0-9a-f.:]*) stop "$private is no address: --private needs one of this machine, such as 10.8.0.1." ;;
esac
[ "$(id -u)" = 0 ] || stop "This needs root: sudo $0 $name"
command -v apt-get >/dev/null || stop "This is no Debian: docs/settings.md and the files in deploy/ tell what there is to do."

packages() {
    wanted=
    command -v caddy >/dev/null || wanted="$wanted caddy"
    /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || wanted="$wanted python3-venv"
    [ -n "$wanted" ] || return 0
    say "Packages:$wanted"
    apt-get -q update
    # shellcheck disable=SC2086  # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $wanted
}

users_and_folders() {
    say "The users remoteweb-web and remoteweb-sync, their group and their folders"
    install -D -m 644 "$deploy/sysusers.conf" /etc/sysusers.d/remoteweb.conf
    install -D -m 644 "$deploy/tmpfiles.conf" /etc/tmpfiles.d/remoteweb.conf
    systemd-sysusers /etc/sysusers.d/remoteweb.conf
    systemd-tmpfiles --create /etc/tmpfiles.d/remoteweb.conf
}

settings() {
    if [ ! -e /etc/remoteweb/remoteweb.env ]; then
        say "Settings: /etc/remoteweb/remoteweb.env"
        (
            umask 027
            printf '%s\n' '# Settings of remoteweb (docs/settings.md), one NAME=value a line.' >/etc/remoteweb/remoteweb.env
        )
        chgrp remoteweb /etc/remoteweb/remoteweb.env
    fi
    sed -i '/^REMOTEWEB_PUBLIC_URL=/d' /etc/remoteweb/remoteweb.env
    echo "REMOTEWEB_PUBLIC_URL=https://$name" >>/etc/remoteweb/remoteweb.env
}

random_key() {
    head -c 32 /dev/urandom | base64
}

# Under it the private keys that are made for servers lie encrypted in the database. Root's alone: systemd hands it to the sync
# worker. Where there is systemd-creds it lies encrypted too, for this machine (by its TPM, if there is one). Never made anew.
key_encryption() {
    file=/etc/remoteweb/key-encryption
    if [ -e "$file" ] || [ -e "$file.cred" ]; then return 0; fi
    say "The key under which keys made for servers lie encrypted: $file"
    if random_key | systemd-creds encrypt --name=key-encryption - "$file.cred" 2>/dev/null &&
        [ "$(systemd-creds decrypt --name=key-encryption "$file.cred" - 2>/dev/null | wc -c)" = 45 ]; then
        chmod 400 "$file.cred"
    else
        rm -f "$file.cred"
        (umask 377 && random_key >"$file")
    fi
}

# What makes a release: the same sources are installed once.
fingerprint() {
    (cd "$source" && find setup.cfg pyproject.toml wsgi.py README.md LICENSE remotejobs remoteweb static templates migrations deploy \
        -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum | cut -c 1-12
}

program() {
    release=$root/releases/$(fingerprint)
    if [ -e "$release/complete" ]; then
        say "The program is there already: $release"
        return 0
    fi
    say "The program, every package by its hash: $release"
    rm -rf "$release"
    mkdir -p "$root/releases"
    /usr/bin/python3 -m venv "$release"
    "$release/bin/pip" install -q --disable-pip-version-check --require-hashes --only-binary :all: -r "$deploy/requirements.txt"
    copy=$(mktemp -d) # pip builds in the folder that it is given
    (cd "$source" && cp -R setup.cfg pyproject.toml wsgi.py README.md LICENSE remotejobs remoteweb static templates migrations "$copy")
    "$release/bin/pip" install -q --disable-pip-version-check --no-index --no-deps --no-build-isolation "$copy"
    rm -rf "$copy"
    install -m 644 "$deploy/shared.env" "$release/shared.env"
    install -m 755 "$deploy/remoteweb.sh" "$release/remoteweb"
    touch "$release/complete"
}

database() {
    say "The database: /var/lib/remoteweb/remoteweb.sqlite"
    "$release/remoteweb" migrate # before the switch: if it is refused, what ran so far goes on
}

switch() {
    ln -sfn "$release" "$root/current"
    ln -sfn "$root/current/remoteweb" /usr/local/bin/remoteweb
    # The two newest stay: `ln -sfn` to the older one goes back.
    find "$root/releases" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +3 | cut -d ' ' -f 2- |
        grep -vxF "$release" | xargs -r rm -rf
    say "The units remoteweb-web and remoteweb-sync"
    install -m 644 "$deploy"/remoteweb-*.service "$deploy"/remoteweb-*.socket "$units"
    [ ! -e /etc/remoteweb/key-encryption.cred ] ||
        sed -i 's|^LoadCredential=\(key-encryption:.*\)|LoadCredentialEncrypted=\1.cred|' "$units/remoteweb-sync.service"
}

proxy() {
    made=$(mktemp)
    sed "s/^jobs\.example\.org {/$name {/" "$deploy/Caddyfile" >"$made"
    [ -z "$private" ] || sed -i "s/# private: bind .*/bind $private/; s/# private: //" "$made"
    if is_ours_or_untouched /etc/caddy/Caddyfile; then
        say "The reverse proxy: /etc/caddy/Caddyfile"
        install -m 644 "$made" /etc/caddy/Caddyfile
    else
        install -m 644 "$made" /etc/caddy/Caddyfile.remoteweb
        say "/etc/caddy/Caddyfile is your own, and was left alone: take over what stands in /etc/caddy/Caddyfile.remoteweb"
    fi
    rm -f "$made"
}

is_ours_or_untouched() {
    [ -e "$1" ] || return 0
    head -n 1 "$1" | grep -q '^# remoteweb behind Caddy' ||
        dpkg-query -W -f '${Conffiles}\n' caddy 2>/dev/null | grep -qF "$1 $(md5sum <"$1" | cut -d ' ' -f 1)"
}

start() {
    if [ ! -d /run/systemd/system ]; then
        say "systemd does not run here: nothing was started"
        return 0
    fi
    systemctl daemon-reload
    systemctl enable -q remoteweb-web.socket remoteweb-web.service remoteweb-sync.service caddy.service
    systemctl restart remoteweb-web.socket remoteweb-web.service remoteweb-sync.service caddy.service
}

packages
users_and_folders
settings
key_encryption
program
database
switch
proxy
start
cat <<END

remoteweb is installed, and answers at https://$name once that name leads here.
A way to a cluster: a key that is made here for it, on the page Servers, or by
    remoteweb key make USER@SERVER
The first user, the administrator, who is asked for a password (or, with --invite, for nothing: a QR code lets a phone in):
    remoteweb create-user NAME
END
