# facts.sh: how facts come to be files.

# put_facts: lines "NAME<tab>word=value<tab>..."; a file each, checked, then linked to its name. Three processes for any number.
put_facts() {
  [ -d actions ] && mkdir "actions/facts.$WORD" 2>/dev/null || return 1
  awk -F "$TAB" -v into="actions/facts.$WORD/" '{
    file = into $1
    for (i = 2; i <= NF; i++) print $i > file
    print "end" > file; close(file)
    last = ""; while ((getline line < file) > 0) last = line; close(file)
    if (last == "end") print file
  }' 2>/dev/null | xargs sh -c 'ln "$@" facts/ 2>/dev/null' sh
  rm -rf "actions/facts.$WORD"
}

# take FILE NAME: FILE becomes NAME if no NAME is there yet; 0 when NAME now has this very content. `ln` and `mkdir` are not
# believed (a repeated NFS call reports failure after success); what can be read back is.
take() { ln "$1" "$2" 2>/dev/null; cmp -s "$1" "$2"; }
