# person.sh, first of what starts jobs: what is the person's own, before we set anything for ourselves.
person_umask=$(umask) person_TZ=${TZ-} person_LC_ALL=${LC_ALL-}

# as_person: in a subshell that starts a job. What we set for ourselves is not the job's.
as_person() {
  umask "$person_umask"
  unset TZ LC_ALL
  [ -z "$person_TZ" ] || export TZ="$person_TZ"
  [ -z "$person_LC_ALL" ] || export LC_ALL="$person_LC_ALL"
}
